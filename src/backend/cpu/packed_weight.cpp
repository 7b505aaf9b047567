#include "backend/cpu/packed_weight.h"

#include <variant>

#include "backend/cpu/bf16_product.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/onednn.h"

namespace tidemark::cpu {
namespace {

bool may_be_packed(const Gemm& op, const CpuContext& context) {
  const Tensor& weight = context.tensor(op.weight);
  const bool whole = op.weight.offset == 0 && op.weight.stride == op.k && weight.rows == op.n &&
                     weight.cols == op.k;
  if (!whole || weight.dtype != DType::bf16 || op.n % packed_rows != 0 || op.k % packed_depth != 0)
    return false;
  if (context.bf16 && context.bf16->takes_gemms) return true;
  GemmShape shape = shape_of(op, context, true);
  shape.m = std::max(shape.m, packed_rows);  // few rows go another way (gemm_packed.cpp)
  // Its other implementations turn such a weight back, or are for reference.
  return context.gemms->implementation(shape).starts_with("brg");
}

template <class Move>
void each(int64_t first, int64_t count, int64_t k, const Move& move) {
  int64_t row = first / k, col = first % k;
  for (int64_t i = 0; i < count; ++i) {
    move(i, row / packed_rows * packed_rows * k + col / 2 * (2 * packed_rows) +
                row % packed_rows * 2 + col % 2);
    if (++col == k) ++row, col = 0;
  }
}

}  // namespace

bool is_packed(const Gemm& op, const CpuContext& context) {
  const TensorId weight = op.weight.tensor;
  if (context.packed) return (*context.packed)[static_cast<size_t>(weight)];
  if (!may_be_packed(op, context)) return false;
  for (const Step& step : context.plan->steps)
    for (const Node& node : step.nodes) {
      if (const auto* gemm = std::get_if<Gemm>(&node.op))
        if (gemm->weight.tensor == weight && !may_be_packed(*gemm, context)) return false;
      if (const auto* lookup = std::get_if<Embedding>(&node.op))
        if (lookup->table.tensor == weight) return false;
    }
  return true;
}

std::vector<bool> packed_weights(const CpuContext& context) {
  std::vector<bool> packed(context.plan->tensors.size());
  for (const Step& step : context.plan->steps)
    for (const Node& node : step.nodes)
      if (const auto* gemm = std::get_if<Gemm>(&node.op))
        packed[static_cast<size_t>(gemm->weight.tensor)] = is_packed(*gemm, context);
  return packed;
}

void pack(const Bf16* from, int64_t first, int64_t count, int64_t k, Bf16* weight) {
  each(first, count, k, [&](int64_t i, int64_t at) { weight[at] = from[i]; });
}

void unpack(const Bf16* weight, int64_t first, int64_t count, int64_t k, Bf16* to) {
  each(first, count, k, [&](int64_t i, int64_t at) { to[i] = weight[at]; });
}

}  // namespace tidemark::cpu
