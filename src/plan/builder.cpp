#include "plan/builder.h"

#include <utility>

namespace tidemark {

Builder::Builder(const ModelSpec& spec, Plan& plan)
    : spec_(spec), plan_(plan), weight_tensors_(spec.weights.size(), no_tensor) {}

void Builder::begin_step(StepKind kind, int64_t length) {
  step_ = &plan_.step(kind);
  step_->kind = kind;
  step_->length = length;
  layer_ = -1;
}

TensorId Builder::add(Tensor tensor) {
  plan_.tensors.push_back(std::move(tensor));
  return static_cast<TensorId>(plan_.tensors.size() - 1);
}

Operand Builder::weight(WeightId id) {
  if (id == no_weight) return {};
  const Weight& w = spec_.weights[static_cast<size_t>(id)];
  TensorId& tensor = weight_tensors_[static_cast<size_t>(id)];
  if (tensor == no_tensor)
    tensor = add({w.name, Tag::weights, plan_.workload.dtype, w.rows, w.cols, id});
  return {tensor, 0, w.cols};
}

Operand Builder::activation(const std::string& name, int64_t rows, int64_t cols) {
  return {add({name, Tag::activation, plan_.workload.dtype, rows, cols}), 0, cols};
}

Operand Builder::persistent(Tag tag, const std::string& name, int64_t rows, int64_t cols,
                            DType dtype) {
  for (size_t i = 0; i < plan_.tensors.size(); ++i)
    if (plan_.tensors[i].tag == tag && plan_.tensors[i].name == name)
      return {static_cast<TensorId>(i), 0, cols};
  return {add({name, tag, dtype, rows, cols}), 0, cols};
}

Operand Builder::state(Tag tag, const std::string& what, int64_t rows, int64_t cols, DType dtype) {
  return persistent(tag, "layer." + std::to_string(layer_) + "." + what, rows, cols, dtype);
}

void Builder::emit(Op op, Role role) {
  step_->nodes.push_back({std::move(op), role, layer_});
}

void Builder::gemm(Operand x, int64_t m, WeightId weight_id, WeightId bias, Operand out,
                   bool accumulate, Role role, float scale) {
  const Weight& w = spec_.weights[static_cast<size_t>(weight_id)];
  emit(Gemm{.x = x,
            .weight = weight(weight_id),
            .bias = weight(bias),
            .out = out,
            .m = m,
            .n = w.rows,
            .k = w.cols,
            .scale = scale,
            .accumulate = accumulate},
       role);
}

Operand Builder::norm(const NormSpec& norm, Operand x, int64_t rows, int64_t width,
                      const std::string& name, Role role) {
  const Operand out = activation(name, rows, width);
  emit(Norm{.kind = norm.kind,
            .x = x,
            .weight = weight(norm.weight),
            .bias = weight(norm.bias),
            .out = out,
            .rows = rows,
            .groups = 1,
            .width = width,
            .eps = static_cast<float>(norm.eps),
            .weight_offset = static_cast<float>(norm.weight_offset)},
       role);
  return out;
}

}  // namespace tidemark
