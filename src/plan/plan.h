// The Plan: tensors and operators in execution order, with concrete sizes. Made only by build_plan;
// executed, priced, profiled and printed from the same object.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/vocab.h"
#include "model/spec.h"
#include "plan/ops.h"

namespace tidemark {

// What is asked of a model.
struct Workload {
  int64_t batch = 1;
  int64_t context = 512;   // prompt tokens per sequence
  int64_t new_tokens = 1;  // output tokens, the first of which the prefill gives
  int64_t chunk = 512;     // prefill tokens per step
  // Weights, activations, KV and conv state; SSM state is f32. With 8-bit weights all but those
  // (Builder::projection) are bf16.
  DType dtype = DType::f32;
  LogitsPolicy logits = LogitsPolicy::last;
  // Backends compute f32 logits. bf16 is for memory alone: to plan as those do who keep 16 bits.
  DType logits_dtype = DType::f32;
};

struct Tensor {
  std::string name;
  Tag tag = Tag::activation;
  DType dtype = DType::f32;
  int64_t rows = 0, cols = 0;
  WeightId weight = no_weight;  // for Tag::weights
  int64_t group = 0;            // of an i8 weight: so many columns of a row share a scale
  bool is_scales = false;       // of the i8 weight that is the tensor before
};
int64_t size_bytes(const Tensor&);

struct Node {
  Op op;
  Role role = Role::embed;
  int32_t layer = -1;  // -1: before the first or after the last layer
};

// body: a whole chunk, no logits (unless all are kept). tail: the last chunk, with logits and the
// first output token. decode: one token per sequence.
enum class StepKind { body, tail, decode };
std::string_view name(StepKind);

struct Step {
  StepKind kind = StepKind::body;
  int64_t length = 0;  // tokens per sequence
  std::vector<Node> nodes;
  TensorId residual = no_tensor;      // [B * L, D], the stream entering each layer
  TensorId final_hidden = no_tensor;  // after the final norm: [B, D], or [B * L, D] with all logits
  TensorId logits = no_tensor;        // last and decode: [B, V]; all: [prompt() * B, V]
};

// Positions count the meta tokens that a model puts before every prompt: its first token is at
// position `meta_tokens`.
struct Plan {
  Workload workload;
  std::string model;
  int64_t body_count = 0;     // the prefill: `body` body_count times, then `tail`
  std::array<Step, 3> steps;  // by StepKind
  std::vector<Tensor> tensors;
  int64_t meta_tokens = 0;
  int32_t first_meta_id = 0;  // of ids first_meta_id, first_meta_id + 1, ...
  // [B, meta_tokens + context + new_tokens] i32: meta ids, the prompt, then what is generated.
  TensorId ids = no_tensor;

  int64_t prompt() const { return meta_tokens + workload.context; }  // positions of the prefill

  Step& step(StepKind kind) { return steps[static_cast<size_t>(kind)]; }
  const Step& step(StepKind kind) const { return steps[static_cast<size_t>(kind)]; }
};

// Puts a tensor at the end of the plan's; returns all of it.
Operand add_tensor(Plan&, Tensor);

// Throws Error naming the key when the workload is impossible.
Plan build_plan(const ModelSpec&, const Workload&);

// The longest context a plan can be made for, whatever the workload's own: as far as learned
// positions reach, and no more than 2^40 tokens in all prompts. Below 1 there is none.
int64_t max_context(const ModelSpec&, const Workload&);

// Moves a step to another position of the sequence; touches only the operators' `past`.
void set_past(Step&, int64_t past);

// Attention over a context that fits a large device has more operations than 64 bits can count.
using Count = __int128;
// For records, which hold 64 bits: what is more becomes the largest of them.
int64_t saturated(Count);

struct Cost {
  Count ops = 0;  // docs/measuring.md: each + - * / exp sqrt max compare is one, multiply-add two
  Count bytes_read = 0;
  Count bytes_written = 0;
  Cost& operator+=(const Cost& other) {
    ops += other.ops;
    bytes_read += other.bytes_read;
    bytes_written += other.bytes_written;
    return *this;
  }
  Count bytes() const { return bytes_read + bytes_written; }
  bool operator==(const Cost&) const = default;
};
Cost cost(const Op&, const Plan&);

// Tensors an operator reads and writes, for liveness and checks.
struct Touched {
  std::vector<TensorId> reads, writes;
};
Touched touched(const Op&);

}  // namespace tidemark
