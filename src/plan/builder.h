// What the block lowerings in blocks/ write operators with.
#pragma once

#include <string>
#include <vector>

#include "plan/plan.h"

namespace tidemark {

class Builder {
 public:
  Builder(const ModelSpec& spec, Plan& plan);

  void begin_step(StepKind kind, int64_t length);
  void begin_layer(int32_t layer) { layer_ = layer; }

  const ModelSpec& spec() const { return spec_; }
  const Workload& workload() const { return plan_.workload; }
  Step& step() { return *step_; }
  int32_t layer() const { return layer_; }
  int64_t batch() const { return plan_.workload.batch; }
  int64_t length() const { return step_->length; }
  int64_t rows() const { return batch() * step_->length; }  // B * L
  // Positions a cache must hold: the last new token is never fed back.
  int64_t positions() const { return plan_.workload.context + plan_.workload.new_tokens - 1; }

  // A weight as operand (no_weight gives an empty one); shared weights share their tensor.
  Operand weight(WeightId id);
  // A tensor of this step only.
  Operand activation(const std::string& name, int64_t rows, int64_t cols);
  // A tensor that lives as long as the plan, found again by name.
  Operand persistent(Tag tag, const std::string& name, int64_t rows, int64_t cols, DType dtype);
  // Per-layer state of the current layer, named "layer.<i>.<what>".
  Operand state(Tag tag, const std::string& what, int64_t rows, int64_t cols, DType dtype);

  void emit(Op op, Role role);
  // out (+)= scale * (x W^T + bias)
  void gemm(Operand x, int64_t m, WeightId weight, WeightId bias, Operand out, bool accumulate,
            Role role, float scale = 1.0F);
  Operand norm(const NormSpec& norm, Operand x, int64_t rows, int64_t width,
               const std::string& name, Role role);

 private:
  TensorId add(Tensor tensor);

  const ModelSpec& spec_;
  Plan& plan_;
  Step* step_ = nullptr;
  int32_t layer_ = -1;
  std::vector<TensorId> weight_tensors_;
};

// Columns [from, ...) of an operand.
inline Operand columns(Operand operand, int64_t from) {
  operand.offset += from;
  return operand;
}

// Each writes one block's operators: `x` is the normalised input, the block's last projection
// accumulates into `residual`.
void lower(const AttentionBlock&, Builder&, Operand x, Operand residual);
void lower(const MlpBlock&, Builder&, Operand x, Operand residual);
void lower(const Mamba1Block&, Builder&, Operand x, Operand residual);
void lower(const Mamba2Block&, Builder&, Operand x, Operand residual);

}  // namespace tidemark
