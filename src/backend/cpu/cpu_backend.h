// Runs plans on this machine's processor.
#pragma once

#include <memory>
#include <optional>

#include "backend/backend.h"
#include "backend/cpu/bf16_product.h"
#include "backend/cpu/context.h"
#include "backend/cpu/onednn.h"
#include "backend/cpu_plan.h"

namespace tidemark {

class CpuBackend : public Backend {
 public:
  // threads 0: all cores this process may use; memory_limit_bytes 0: what the machine has.
  // bf16: the unit for products inside attention and SSD, null: none but fp32.
  CpuBackend(int threads, int64_t memory_limit_bytes, const cpu::Bf16Unit* bf16 = cpu::bf16_unit());
  BackendInfo info() const override;
  bool supports(DType) const override;
  void choose_forms(Plan& plan) const override { choose_cpu_forms(plan); }
  int64_t workspace_bytes(const Node&, const Plan&) const override;
  void attach(const Plan&, const MemoryLayout&) override;
  void detach() override;
  void upload(TensorId, std::span<const std::byte>, int64_t offset_bytes) override;
  void download(TensorId, std::span<std::byte>, int64_t offset_bytes) const override;
  MemoryByTag high_water() const override;
  void run_step(StepKind, int64_t past, NodeObserver* observer) override;
  void synchronize() override {}
  std::string implementation(StepKind, size_t node) const override;

 private:
  CpuContext context(const Plan&) const;
  std::byte* bytes(TensorId, size_t count, int64_t offset_bytes) const;

  int threads_;
  int64_t memory_limit_bytes_;
  const cpu::Bf16Unit* bf16_;
  mutable OneDnnGemms gemms_;  // a cache: what is asked about a node makes its primitive
  mutable Arenas arenas_;      // reading marks what was read
  Plan plan_;
  MemoryLayout layout_;
  std::vector<bool> packed_;  // by tensor of plan_
};

}  // namespace tidemark
