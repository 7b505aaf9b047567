// Backends whose time a test knows beforehand.
#pragma once

#include <set>
#include <utility>
#include <vector>

#include "backend/executor.h"

namespace tidemark {

// A backend on a clock of its own: every node takes a given time, every step a little more.
class ClockworkBackend : public Backend {
 public:
  double now_s = 1000;
  double step_gap_s = 0.5;  // of every step, outside its nodes
  int slow_every = 0;       // every so many steps take ten times as long; 0: none
  std::vector<std::pair<StepKind, int64_t>> ran;
  int observed_steps = 0;
  double cold_s = 0;  // more for the first node of each kind that is watched

  BackendInfo info() const override {
    return {.device = "clockwork",
            .name = "Brass",
            .isa = "cogs",
            .threads = 3,
            .libraries = {"spring 1.0"},
            .memory_bytes = 1 << 20};
  }
  bool supports(DType) const override { return true; }
  int64_t workspace_bytes(const Node&, const Plan&) const override { return 0; }
  void attach(const Plan& plan, const MemoryLayout& layout) override {
    plan_ = &plan;
    layout_ = layout;
  }
  void detach() override {}
  void upload(TensorId, std::span<const std::byte>, int64_t) override {}
  void download(TensorId, std::span<std::byte>, int64_t) const override {}
  MemoryByTag high_water() const override { return layout_.size_bytes; }
  void run_step(StepKind kind, int64_t past, NodeObserver* observer) override {
    ran.emplace_back(kind, past);
    observed_steps += observer != nullptr;
    const bool slow = slow_every > 0 && ran.size() % static_cast<size_t>(slow_every) == 0;
    now_s += step_gap_s * (slow ? 10 : 1);
    const Step& step = plan_->step(kind);
    if (observer != nullptr && cold_.insert(kind).second) now_s += cold_s;
    for (size_t i = 0; i < step.nodes.size(); ++i) {
      if (observer != nullptr) observer->before(step.nodes[i], i);
      now_s += node_s(kind, i);
      if (observer != nullptr) observer->after(step.nodes[i], i);
    }
  }
  void synchronize() override {}
  std::string implementation(StepKind kind, size_t node) const override {
    const auto* gemm = std::get_if<Gemm>(&plan_->step(kind).nodes[node].op);
    return gemm != nullptr && gemm->m == 1 ? "gemv" : "plain";
  }

  // Body: 1, 2 s. Tail: 3, 4, 5 s. Decode: 0.25, 0.25 s.
  static double node_s(StepKind kind, size_t i) {
    if (kind == StepKind::body) return 1.0 + static_cast<double>(i);
    if (kind == StepKind::tail) return 3.0 + static_cast<double>(i);
    return 0.25;
  }

 private:
  const Plan* plan_ = nullptr;
  std::set<StepKind> cold_;
  MemoryLayout layout_;
};

// 10 tokens in chunks of 4: two body steps [gemm, gemm], a tail of 2 tokens with one more gemm.
inline Plan small_plan(int64_t new_tokens) {
  Plan plan;
  plan.model = "small";
  plan.workload = {.batch = 2, .context = 10, .new_tokens = new_tokens, .chunk = 4};
  plan.body_count = 2;
  plan.tensors = {{.name = "t", .rows = 64, .cols = 64}};
  const Operand t{.tensor = 0, .offset = 0, .stride = 64};
  const auto node = [&](int64_t rows, Role role, int32_t layer) {
    return Node{Gemm{.x = t, .weight = t, .bias = {}, .out = t, .m = rows, .n = 8, .k = 16}, role,
                layer};
  };
  plan.steps[0] = {.kind = StepKind::body,
                   .length = 4,
                   .nodes = {node(8, Role::mlp_up, 0), node(8, Role::mlp_up, 0)}};
  plan.steps[1] = {
      .kind = StepKind::tail,
      .length = 2,
      .nodes = {node(4, Role::mlp_up, 0), node(1, Role::mlp_up, 0), node(2, Role::lm_head, -1)}};
  if (new_tokens > 1)
    plan.steps[2] = {.kind = StepKind::decode,
                     .length = 1,
                     .nodes = {node(2, Role::mlp_up, 0), node(2, Role::lm_head, -1)}};
  return plan;
}

// A device with a clock of its own, by which nodes take a hundredth of what the host waits.
class ClockedBackend : public ClockworkBackend {
 public:
  void profile_step(StepKind kind, int64_t past, const std::function<double()>& now_s_of_host,
                    StepProfile& out) override {
    const double begin_s = now_s_of_host();
    run_step(kind, past, nullptr);
    out.device.emplace();
    const double more_s = watched_.insert(kind).second ? cold_s : 0;
    for (size_t i = 0; i < out.nodes.size(); ++i) {
      out.nodes[i] = {.start_s = static_cast<double>(i), .time_s = node_s(kind, i) / 100 + more_s};
      out.device->busy_s += out.nodes[i].time_s;
    }
    out.device->busy_s += 0.001;  // of no node
    out.wall_s = now_s_of_host() - begin_s;
    out.device->host_dispatch_s = 0.25 * out.wall_s;
    out.device->idle_s = 0.75 * out.wall_s - out.device->busy_s;
  }

 private:
  std::set<StepKind> watched_;
};

}  // namespace tidemark
