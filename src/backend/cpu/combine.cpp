// Combine: the weighted sum of a token's expert outputs, added to the residual. A task is a piece
// of up to 1024 columns of one token. Bound by memory: top_k rows in, one row out.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/combine.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include <algorithm>

#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

constexpr int64_t piece = 1024;

template <class T>
void pieces(const Combine& op, const CpuContext& context, int64_t begin, int64_t end) {
  const int64_t slots = op.rows * op.top_k, per_row = divide_up(op.width, piece);
  const T* x = context.pointer<T>(op.x, slots, op.width);
  const float* weights = context.pointer<float>(op.weights, op.rows, op.top_k);
  const int32_t* position = context.pointer<int32_t>(op.position, op.rows, op.top_k);
  T* out = context.pointer<T>(op.out, op.rows, op.width);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t row = item / per_row, first = item % per_row * piece;
    const int64_t last = std::min(first + piece, op.width);
    const float* weight = weights + row * op.weights.stride;
    const int32_t* slot = position + row * op.position.stride;
    T* to = out + row * op.out.stride;
    for (int64_t i = first; i < last; i += lanes) {
      Vec sum = op.accumulate ? load_row(to + i, last - i) : hn::Zero(floats);
      for (int64_t j = 0; j < op.top_k; ++j)
        sum = hn::MulAdd(all(weight[j]), load_row(x + slot[j] * op.x.stride + i, last - i), sum);
      store_row(sum, to + i, last - i);
    }
  }
}

void combine(const Combine& op, const CpuContext& context, int64_t begin, int64_t end) {
  if (context.is_f32(op.out))
    pieces<float>(op, context, begin, end);
  else
    pieces<Bf16>(op, context, begin, end);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {
HWY_EXPORT(combine);

void run(const Combine& op, const CpuContext& context) {
  parallel_ranges(context.threads, op.rows * divide_up(op.width, 1024), 4,
                  [&](int64_t begin, int64_t end, int) {
                    HWY_DYNAMIC_DISPATCH(combine)(op, context, begin, end);
                  });
}

}  // namespace tidemark::cpu
#endif
