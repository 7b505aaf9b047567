// One run() per operator, each in the file of its name. std::visit over Op makes a missing one an
// error.
#pragma once

#include "backend/cpu/context.h"
#include "plan/ops.h"

namespace tidemark::cpu {

void run(const Embedding&, const CpuContext&);
void run(const Add&, const CpuContext&);
void run(const Norm&, const CpuContext&);
void run(const GatedNorm&, const CpuContext&);
void run(const Gemm&, const CpuContext&);
void run(const BlockGemm&, const CpuContext&);
void run(const Glu&, const CpuContext&);
void run(const Activation&, const CpuContext&);
void run(const RowGate&, const CpuContext&);
void run(const SoftCap&, const CpuContext&);
void run(const Route&, const CpuContext&);
void run(const ExpertGemm&, const CpuContext&);
void run(const Combine&, const CpuContext&);
void run(const Rope&, const CpuContext&);
void run(const KvAppend&, const CpuContext&);
void run(const Attention&, const CpuContext&);
void run(const Conv1d&, const CpuContext&);
void run(const SelectiveScan&, const CpuContext&);
void run(const Ssd&, const CpuContext&);
void run(const GatedDelta&, const CpuContext&);
void run(const RgLru&, const CpuContext&);
void run(const SelectLast&, const CpuContext&);
void run(const Argmax&, const CpuContext&);

// Whether a product can do the operator behind it, too, and does, where nobody looks at what lies
// between them: gemm_unit.cpp.
bool takes_along(const Gemm&, const Glu&, const CpuContext&);
void run_gated(const Gemm&, Act, const CpuContext&);

// Scratch of an operator, whatever its `past`. Operators not named here need none.
int64_t workspace_bytes(const auto&, const CpuContext&) {
  return 0;
}
int64_t workspace_bytes(const GatedNorm&, const CpuContext&);
int64_t workspace_bytes(const Gemm&, const CpuContext&);
int64_t workspace_bytes(const BlockGemm&, const CpuContext&);
int64_t workspace_bytes(const Route&, const CpuContext&);
int64_t workspace_bytes(const ExpertGemm&, const CpuContext&);
int64_t workspace_bytes(const Rope&, const CpuContext&);
int64_t workspace_bytes(const Attention&, const CpuContext&);
int64_t workspace_bytes(const Conv1d&, const CpuContext&);
int64_t workspace_bytes(const SelectiveScan&, const CpuContext&);
int64_t workspace_bytes(const Ssd&, const CpuContext&);
int64_t workspace_bytes(const GatedDelta&, const CpuContext&);

// Which of several variants runs an operator; the others have one, named after their file.
std::string_view variant(const auto&, const CpuContext&) {
  return {};
}
std::string_view variant(const Gemm&, const CpuContext&);
std::string_view variant(const BlockGemm&, const CpuContext&);
std::string_view variant(const ExpertGemm&, const CpuContext&);
std::string_view variant(const Attention&, const CpuContext&);
std::string_view variant(const Conv1d&, const CpuContext&);
std::string_view variant(const SelectiveScan&, const CpuContext&);
std::string_view variant(const Ssd&, const CpuContext&);

// The instruction set the kernels dispatch to on this machine: "AVX3", "AVX2", "NEON".
std::string_view simd_target();

}  // namespace tidemark::cpu
