// Weights of bf16 products in the order in which units for bf16 and oneDNN's kernels read them, so
// that no product lays out anew what never changes. A weight [n, k] takes the bytes it takes as
// rows: blocks of 64 rows, each [k / 2][64][2] (oneDNN's BA16a64b2a of its transpose), which decode
// streams from end to end.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/cpu/context.h"
#include "plan/ops.h"

namespace tidemark::cpu {

inline constexpr int64_t packed_rows = 64, packed_depth = 32;  // n and k are multiples of

// Whether the weight of a Gemm is kept packed: where the unit for bf16 takes products
// (gemm_unit.cpp) or oneDNN has a kernel that wants it so for every product that reads it, and
// nothing but products does (a tied embedding is looked up by rows).
bool is_packed(const Gemm&, const CpuContext&);
// The same of every tensor of a plan, for CpuContext::packed.
std::vector<bool> packed_weights(const CpuContext&);

// Elements [first, first + count) of the rows to where they lie packed, and back.
void pack(const Bf16* from, int64_t first, int64_t count, int64_t k, Bf16* weight);
void unpack(const Bf16* weight, int64_t first, int64_t count, int64_t k, Bf16* to);

}  // namespace tidemark::cpu
