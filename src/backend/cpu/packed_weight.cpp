#include "backend/cpu/packed_weight.h"

#include <algorithm>
#include <variant>

#include "backend/cpu/bf16_product.h"

namespace tidemark::cpu {
namespace {

bool is_whole(const Operand& operand, int64_t rows, int64_t cols, const CpuContext& context) {
  const Tensor& tensor = context.tensor(operand);
  return operand.offset == 0 && operand.stride == cols && tensor.rows == rows &&
         tensor.cols == cols;
}

template <class T, class Move>
void each(int64_t first, int64_t count, int64_t n, int64_t k, const Move& move) {
  constexpr int64_t word = 4 / sizeof(T);  // elements
  const int64_t grouped = rows_in_groups(n);
  int64_t row = first / k, col = first % k;
  for (int64_t i = 0; i < count; ++row, col = 0) {
    const int64_t end = std::min(count, i + k - col);
    const int64_t base = row / packed_rows * packed_rows * k + row % packed_rows * word;
    if (row >= grouped)
      for (; i < end; ++i, ++col) move(i, row * k + col);
    else
      for (; i < end; ++i, ++col) move(i, base + col / word * (word * packed_rows) + col % word);
  }
}

}  // namespace

bool is_packed(const Gemm& op, const CpuContext& context) {
  const TensorId weight = op.weight.tensor;
  if (context.packed) return (*context.packed)[static_cast<size_t>(weight)];
  const DType dtype = context.tensor(op.weight).dtype;
  const bool has_unit =
      context.bf16 &&
      (dtype == DType::bf16 || (dtype == DType::i8 && op.int8_x && context.bf16->multiply_int8));
  const int64_t multiple = dtype == DType::bf16 ? least_depth : 2 * packed_depth;
  if (!has_unit || op.k % multiple != 0) return false;
  for (const Step& step : context.plan->steps)
    for (const Node& node : step.nodes) {
      if (const auto* gemm = std::get_if<Gemm>(&node.op))
        if (gemm->weight.tensor == weight && !is_whole(gemm->weight, gemm->n, gemm->k, context))
          return false;
      if (const auto* lookup = std::get_if<Embedding>(&node.op))
        if (lookup->table.tensor == weight &&
            !is_whole(lookup->table, lookup->vocab, lookup->width, context))
          return false;
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

template <class T>
void pack(const T* from, int64_t first, int64_t count, int64_t n, int64_t k, T* weight) {
  each<T>(first, count, n, k, [&](int64_t i, int64_t at) { weight[at] = from[i]; });
}

template <class T>
void unpack(const T* weight, int64_t first, int64_t count, int64_t n, int64_t k, T* to) {
  each<T>(first, count, n, k, [&](int64_t i, int64_t at) { to[i] = weight[at]; });
}

template void pack(const Bf16*, int64_t, int64_t, int64_t, int64_t, Bf16*);
template void pack(const int8_t*, int64_t, int64_t, int64_t, int64_t, int8_t*);
template void unpack(const Bf16*, int64_t, int64_t, int64_t, int64_t, Bf16*);
template void unpack(const int8_t*, int64_t, int64_t, int64_t, int64_t, int8_t*);

}  // namespace tidemark::cpu
