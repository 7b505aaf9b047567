#include "app/trace_pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>

#include "plan/explain.h"
#include "plan/live_memory.h"

namespace tidemark {
namespace {

struct Timed {
  int64_t step = 0;
  size_t index = 0;
  double start_s = 0, end_s = 0;
};

// Times every operator with the device idle before and after it.
class SliceTimer : public NodeObserver {
 public:
  SliceTimer(Backend& backend, size_t most) : backend_(backend) { slices_.reserve(most); }

  void start() {
    slices_.clear();
    step_ = -1;
    begin_ = std::chrono::steady_clock::now();
  }
  void before(const Node&, size_t index) override {
    backend_.synchronize();
    if (index == 0) ++step_;
    slices_.push_back({step_, index, now_s(), 0});
  }
  void after(const Node&, size_t) override {
    backend_.synchronize();
    slices_.back().end_s = now_s();
  }
  const std::vector<Timed>& slices() const { return slices_; }

 private:
  double now_s() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }
  Backend& backend_;
  std::vector<Timed> slices_;
  int64_t step_ = -1;
  std::chrono::steady_clock::time_point begin_;
};

struct StepPlace {
  StepKind kind;
  int64_t past;
};

Trace trace_of(Executor& executor, const std::vector<Timed>& slices,
               const std::function<StepPlace(int64_t)>& place_of, std::string title) {
  Trace trace{.title = std::move(title)};
  const Plan& plan = executor.plan();
  const WorkspaceOf workspace_of = [&](const Node& n) {
    return executor.backend().workspace_bytes(n, plan);
  };
  Step step;
  std::vector<MemoryByTag> live;
  for (const Timed& timed : slices) {
    if (timed.index == 0) {
      const StepPlace place = place_of(timed.step);
      if (live.empty() || step.kind != place.kind)
        live = live_memory(plan, place.kind, workspace_of);
      step = plan.step(place.kind);
      set_past(step, place.past);
      const int64_t cache = filled_cache_bytes(plan, step, place.past);
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
  const Plan& plan = executor.plan();
  const Workload& w = plan.workload;
  const size_t most =
      static_cast<size_t>(plan.body_count) * plan.step(StepKind::body).nodes.size() +
      plan.step(StepKind::tail).nodes.size();
  SliceTimer timer(executor.backend(), most);
  std::vector<Trace> traces;
  const std::string title = fmt::format("{}, {} tokens", plan.model, w.context);

  executor.prefill();
  timer.start();
  executor.prefill(&timer);
  traces.push_back(trace_of(
      executor, timer.slices(),
      [&](int64_t step) {
        return StepPlace{step < plan.body_count ? StepKind::body : StepKind::tail, step * w.chunk};
      },
      title + ", prefill"));
  if (w.new_tokens > 1) {
    timer.start();
    executor.decode(w.context, &timer);
    traces.push_back(trace_of(
        executor, timer.slices(),
        [&](int64_t) {
          return StepPlace{StepKind::decode, plan.prompt()};
        },
        title + ", decode"));
  }
  return traces;
}

}  // namespace tidemark
