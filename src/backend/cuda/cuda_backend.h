// Runs plans on one NVIDIA GPU. A step runs as one captured CUDA graph: its kernels read the
// position from device memory, so that one graph serves every position. Under an observer, and
// where a step's launches depend on the position (logits of all positions), node by node on the
// stream instead.
#pragma once

#include <array>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/context.h"

namespace tidemark::cuda {

class CudaBackend : public Backend {
 public:
  // memory_limit_bytes 0: what the device has free.
  CudaBackend(int index, int64_t memory_limit_bytes);
  ~CudaBackend() override;
  BackendInfo info() const override;
  bool supports(DType) const override;
  void choose_forms(Plan&) const override;
  int64_t workspace_bytes(const Node&, const Plan&) const override;
  void attach(const Plan&, const MemoryLayout&) override;
  void detach() override;
  void upload(TensorId, std::span<const std::byte>, int64_t offset_bytes) override;
  void download(TensorId, std::span<std::byte>, int64_t offset_bytes) const override;
  int64_t overhead_bytes() const override;
  MemoryByTag high_water() const override;
  void run_step(StepKind, int64_t past, NodeObserver* observer) override;
  void synchronize() override;
  void profile_step(StepKind, int64_t past, const std::function<double()>& now_s,
                    StepProfile& out) override;
  int steps_ahead() const override { return 1; }
  void wait_for_steps(int running) override;
  std::string implementation(StepKind, size_t node) const override;

  // Nodes one after the other on the stream, with no graph, no fusion, no overlap and no waiting:
  // what a profiler watches, which is told of every launch.
  void run_step_plain(StepKind, int64_t past, NodeObserver& between);

 private:
  void queue_step(StepKind, int64_t past);
  void launch_watched(StepKind, int64_t past, NodeObserver&, bool alone);
  struct CapturedStep {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    cudaGraphNode_t position_node = nullptr;
  };
  void capture(StepKind);
  void set_position(const Step&, int64_t past);
  // Several as one launch where there is such a kernel, and remembers which nodes had none.
  void launch_nodes(const Step&);
  // The position that a step's one graph may be made for, -1 for all.
  int64_t graph_position(StepKind) const;
  bool gains_by_position(StepKind) const;
  std::byte* bytes(TensorId, size_t count, int64_t offset_bytes) const;

  int index_;
  int64_t memory_limit_bytes_;
  mutable CudaContext context_;
  Plan plan_;
  int64_t arena_bytes_ = 0;  // taken
  std::array<CapturedStep, 3> captured_;
  std::array<bool, 3> gains_by_position_{};      // by StepKind
  std::array<cudaEvent_t, 2> step_end_{};        // of the last step queued, and of the one before
  std::array<std::set<size_t>, 3> taken_along_;  // nodes without a launch of their own
};

}  // namespace tidemark::cuda
