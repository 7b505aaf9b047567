#include "app/trace_pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "measure/harness.h"
#include "plan/explain.h"
#include "plan/live_memory.h"

namespace tidemark {
namespace {

struct Timed {
  int64_t step = 0;
  size_t index = 0;
  double start_s = 0, end_s = 0;
};

// The steps of a phase one after the other, every operator on its own.
std::vector<Timed> timed_pass(Executor& executor, Phase phase) {
  const int64_t steps = step_count(executor.plan(), phase);
  std::vector<Timed> slices;
  double begin_s = 0;
  for (int64_t step = 0; step < steps; ++step) {
    const StepProfile profile = executor.profile_step(phase, step, steady_now_s);
    for (size_t i = 0; i < profile.nodes.size(); ++i) {
      const double start_s = begin_s + profile.nodes[i].start_s;
      slices.push_back({step, i, start_s, start_s + profile.nodes[i].time_s});
    }
    begin_s += profile.wall_s;
  }
  return slices;
}

Trace trace_of(Executor& executor, const std::vector<Timed>& slices, Phase phase) {
  const Plan& plan = executor.plan();
  Trace trace{.title =
                  fmt::format("{}, {} tokens, {}", plan.model, plan.workload.context, name(phase))};
  const WorkspaceOf workspace_of = [&](const Node& n) {
    return executor.backend().workspace_bytes(n, plan);
  };
  Step step;
  std::vector<MemoryByTag> live;
  for (const Timed& timed : slices) {
    if (timed.index == 0) {
      const StepKind kind = step_kind(plan, phase, timed.step);
      if (live.empty() || step.kind != kind) live = live_memory(plan, kind, workspace_of);
      step = plan.step(kind);
      const int64_t past = step_past(plan, phase, timed.step);
      set_past(step, past);
      const int64_t cache = filled_cache_bytes(plan, step, past);
      for (MemoryByTag& bytes : live) bytes[Tag::kv_cache] = cache;
    }
    const Node& node = step.nodes[timed.index];
    const Cost c = cost(node.op, plan);
    trace.slices.push_back(
        {.name = std::string(name(node.op)),
         .category = category(node.op),
         .role = node.role,
         .layer = node.layer,
         .start_s = timed.start_s,
         .duration_s = timed.end_s - timed.start_s,
         .args = {{"shape", shape_text(node.op)},
                  {"step", timed.step},
                  {"ops", saturated(c.ops)},
                  {"bytes_read", saturated(c.bytes_read)},
                  {"bytes_written", saturated(c.bytes_written)},
                  {"implementation", executor.backend().implementation(step.kind, timed.index)}}});
    trace.memory.push_back({timed.start_s, live[timed.index]});
  }
  if (!trace.memory.empty())
    trace.memory.push_back({slices.back().end_s, trace.memory.back().bytes});
  return trace;
}

}  // namespace

int64_t filled_cache_bytes(const Plan& plan, const Step& step, int64_t past) {
  std::map<TensorId, int64_t> capacities;  // positions a cache tensor holds at most
  const auto add = [&](const auto& op) {
    if (!op.k_cache) return;
    capacities[op.k_cache.tensor] = op.capacity;
    capacities[op.v_cache.tensor] = op.capacity;
  };
  for (const Node& node : step.nodes) {
    if (const auto* rope = std::get_if<Rope>(&node.op)) add(*rope);
    if (const auto* append = std::get_if<KvAppend>(&node.op)) add(*append);
  }
  int64_t bytes = 0;
  for (const auto& [tensor, capacity] : capacities)
    bytes += size_bytes(plan.tensors[static_cast<size_t>(tensor)]) / capacity *
             std::min(past + step.length, capacity);
  return bytes;
}

std::vector<Trace> trace_pass(Executor& executor) {
  std::vector<Trace> traces;
  for (const Phase phase : {Phase::prefill, Phase::decode}) {
    if (phase == Phase::decode && executor.plan().workload.new_tokens == 1) break;
    timed_pass(executor, phase);  // what runs for the first time is slow
    traces.push_back(trace_of(executor, timed_pass(executor, phase), phase));
  }
  return traces;
}

}  // namespace tidemark
