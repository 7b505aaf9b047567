// Runs a plan on a backend: memory laid out and attached once, then prefill and decode without
// further allocation.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "backend/backend.h"

namespace tidemark {

// The steps of a phase: of a prefill body_count bodies and the tail, of a decode one, right behind
// the prompt. Of the i-th its kind, and the position it is at.
inline int64_t step_count(const Plan& plan, Phase phase) {
  return phase == Phase::decode ? 1 : plan.body_count + 1;
}
inline StepKind step_kind(const Plan& plan, Phase phase, int64_t i) {
  if (phase == Phase::decode) return StepKind::decode;
  return i < plan.body_count ? StepKind::body : StepKind::tail;
}

inline int64_t step_past(const Plan& plan, Phase phase, int64_t i) {
  return phase == Phase::decode ? plan.prompt() : i * plan.workload.chunk;
}

class Executor {
 public:
  // Asks the backend for forms and scratch sizes, lays memory out and attaches it.
  Executor(Plan plan, Backend& backend);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  const Plan& plan() const { return plan_; }
  const MemoryLayout& layout() const { return layout_; }
  Backend& backend() const { return backend_; }

  // Calls `fill` once per weight tensor with host memory of its size, then uploads it.
  void fill_weights(const std::function<void(const Tensor&, std::span<std::byte>)>& fill);
  // Prompt ids [B, context], row by row. Here and below positions start at the prompt; the meta
  // tokens of a plan come and go unseen.
  void set_prompt(std::span<const int32_t> ids);
  // Overwrites one id, e.g. to force a known continuation.
  void set_id(int64_t sequence, int64_t position, int32_t id);
  // Prompt and generated ids [B, context + new_tokens].
  std::vector<int32_t> ids() const;
  // One whole tensor as floats.
  std::vector<float> read(TensorId) const;

  // The whole chunked prefill, to the first output token; waits for it.
  void prefill();
  // One token per sequence at position `past` (context, context + 1, ...); waits for it.
  void decode(int64_t past);
  // The same without waiting.
  void queue_decode(int64_t past);
  // One step of the prefill; step i of body_count + 1.
  void prefill_step(int64_t i, NodeObserver* observer = nullptr);
  // Step i of a phase, of a decode at `context`, node by node (Backend::profile_step).
  StepProfile profile_step(Phase, int64_t i, const std::function<double()>& now_s);

 private:
  int64_t ids_row() const;  // ids of one sequence, meta tokens included

  Plan plan_;
  Backend& backend_;
  MemoryLayout layout_;
};

}  // namespace tidemark
