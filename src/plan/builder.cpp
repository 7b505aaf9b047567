#include "plan/builder.h"

#include <algorithm>
#include <utility>

namespace tidemark {
namespace {

// Columns of a row that share a scale where activations have 16 bits; with 8-bit activations a row
// has one, so that sums stay integers.
constexpr int64_t int8_group = 32;

// Small matrices whose errors reach far: a rounded score may choose another expert, and the time
// step of a scan goes through exponentials from token to token.
bool keeps_16_bits(Role role) {
  return role == Role::router || role == Role::x_proj || role == Role::dt_proj;
}

}  // namespace

Builder::Builder(const ModelSpec& spec, Plan& plan)
    : spec_(spec),
      plan_(plan),
      weight_tensors_(spec.weights.size(), no_tensor),
      scale_tensors_(spec.weights.size(), no_tensor) {
  for (size_t i = 0; i < spec.layers.size(); ++i)
    for (const Sublayer& sublayer : spec.layers[i].sublayers) {
      const auto layer = static_cast<int32_t>(i);
      if (sublayer.side) note_cache(sublayer.side->attention, layer);
      for (const Block& block : sublayer.parallel) {
        if (const auto* attention = std::get_if<AttentionBlock>(&block))
          note_cache(*attention, layer);
        if (const auto* heads = std::get_if<ParallelHeadsBlock>(&block))
          note_cache(heads->attention, layer);
      }
    }
}

void Builder::note_cache(const AttentionBlock& block, int32_t layer) {
  const int32_t filled_by = block.kv_from_layer >= 0 ? block.kv_from_layer : layer;
  const auto [entry, is_new] = kv_caches_.try_emplace(filled_by);
  KvCache& cache = entry->second;
  const bool everything = block.window == 0 || (!is_new && cache.window == 0);
  cache.window = everything ? 0 : std::max(cache.window, block.window);
  cache.sinks = everything ? 0 : std::max(cache.sinks, block.sinks);
  cache.last_reader = layer;
}

void Builder::begin_step(StepKind kind, int64_t length) {
  step_ = &plan_.step(kind);
  step_->kind = kind;
  step_->length = length;
  layer_ = -1;
}

Operand Builder::weight(WeightId id) {
  if (id == no_weight) return {};
  const Weight& w = spec_.weights[static_cast<size_t>(id)];
  TensorId& tensor = weight_tensors_[static_cast<size_t>(id)];
  if (tensor == no_tensor)
    tensor = add_tensor(plan_, {w.name, Tag::weights, dtype(), w.rows, w.cols, id}).tensor;
  return {tensor, 0, w.cols};
}

Builder::Projection Builder::projection(WeightId id) {
  if (!has_int8_weights(plan_.workload.dtype)) return {weight(id), {}, 0};
  const Weight& w = spec_.weights[static_cast<size_t>(id)];
  const int64_t group = int8_x() ? w.cols : std::min(int8_group, w.cols);
  const int64_t groups = (w.cols + group - 1) / group;
  TensorId& values = weight_tensors_[static_cast<size_t>(id)];
  TensorId& scales = scale_tensors_[static_cast<size_t>(id)];
  if (values == no_tensor) {
    values = add_tensor(plan_, {w.name, Tag::weights, DType::i8, w.rows, w.cols, id, group}).tensor;
    scales = add_tensor(plan_, {w.name + ".scales", Tag::weights, DType::bf16, w.rows, groups, id,
                                group, true})
                 .tensor;
  }
  return {{values, 0, w.cols}, {scales, 0, groups}, group};
}

Operand Builder::activation(const std::string& name, int64_t rows, int64_t cols) {
  return activation(name, rows, cols, dtype());
}

Operand Builder::activation(const std::string& name, int64_t rows, int64_t cols, DType dtype) {
  return add_tensor(plan_, {name, Tag::activation, dtype, rows, cols});
}

Operand Builder::persistent(Tag tag, const std::string& name, int64_t rows, int64_t cols,
                            DType dtype) {
  for (size_t i = 0; i < plan_.tensors.size(); ++i)
    if (plan_.tensors[i].tag == tag && plan_.tensors[i].name == name)
      return {static_cast<TensorId>(i), 0, cols};
  return add_tensor(plan_, {name, tag, dtype, rows, cols});
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
  const auto [values, scales, group] =
      keeps_16_bits(role) ? Projection{weight(weight_id), {}, 0} : projection(weight_id);
  emit(Gemm{.x = x,
            .weight = values,
            .bias = weight(bias),
            .out = out,
            .m = m,
            .n = w.rows,
            .k = w.cols,
            .scale = scale,
            .accumulate = accumulate,
            .scales = scales,
            .group = group,
            .int8_x = scales && int8_x()},
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

void Builder::norm_in_place(const NormSpec& norm, Operand x, int64_t rows, int64_t groups,
                            int64_t width, Role role) {
  emit(Norm{.kind = norm.kind,
            .x = x,
            .weight = weight(norm.weight),
            .bias = weight(norm.bias),
            .out = x,
            .rows = rows,
            .groups = groups,
            .width = width,
            .eps = static_cast<float>(norm.eps),
            .weight_offset = static_cast<float>(norm.weight_offset)},
       role);
}

void Builder::adapt(const Adapter& adapter, Operand x, Operand out) {
  const int64_t ranks = spec_.weights[static_cast<size_t>(adapter.down)].rows;
  Operand low = activation("adapter", rows(), ranks);
  gemm(x, rows(), adapter.down, no_weight, low, false, Role::adapter);
  for (const WeightId up : adapter.up) {
    const Weight& w = spec_.weights[static_cast<size_t>(up)];
    gemm(low, rows(), up, no_weight, out, true, Role::adapter);
    low = columns_from(low, w.cols);
    out = columns_from(out, w.rows);
  }
}

}  // namespace tidemark
