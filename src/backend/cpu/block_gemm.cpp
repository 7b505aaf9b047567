// BlockGemm: a block-diagonal product, weights with inputs as rows. Many rows: oneDNN's batched
// matmul, one batch per block, where it has an optimised one. Else, and for few rows (decode), a
// task is 4 rows of x and 4 vectors of one block's columns, with the sums in registers and each
// weight loaded once per task; bound by the memory of the weight for few rows.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/block_gemm.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include <algorithm>

#include "backend/cpu/kernels.h"
#include "backend/cpu/onednn.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

constexpr int vectors = HWY_TARGET == HWY_AVX2 ? 2 : 4;

// Rows [row, row + count) of block g, columns from `col`.
template <int count, class T>
HWY_INLINE void tile(const BlockGemm& op, const T* x, const T* weight, const T* bias, T* out,
                     int64_t col, int64_t width) {
  Vec sum[count][vectors];
  for (int i = 0; i < count; ++i)
    for (int j = 0; j < vectors; ++j) sum[i][j] = hn::Zero(floats);
  for (int64_t k = 0; k < op.k; ++k) {
    const T* from = weight + k * op.weight.stride + col;
    Vec w[vectors];
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) {
      const int64_t left = width - j * lanes;
      w[j] = left > 0 ? load_row(from + j * lanes, left) : hn::Zero(floats);
    }
#pragma GCC unroll 4
    for (int i = 0; i < count; ++i) {
      const Vec value = all(static_cast<float>(x[i * op.x.stride + k]));
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j) sum[i][j] = hn::MulAdd(value, w[j], sum[i][j]);
    }
  }
  for (int i = 0; i < count; ++i)
    for (int j = 0; j < vectors && j * lanes < width; ++j) {
      const int64_t left = width - j * lanes;
      Vec y = sum[i][j];
      if (bias) y = hn::Add(y, load_row(bias + col + j * lanes, left));
      store_row(y, out + i * op.out.stride + col + j * lanes, left);
    }
}

template <class T>
void block_rows(const BlockGemm& op, const CpuContext& context, int64_t block, int64_t row) {
  const T* x = context.pointer<T>(op.x, op.m, op.blocks * op.k) + row * op.x.stride + block * op.k;
  const T* weight =
      context.pointer<T>(op.weight, op.blocks * op.k, op.n) + block * op.k * op.weight.stride;
  const T* bias = op.bias ? context.block<T>(op.bias, op.blocks * op.n) + block * op.n : nullptr;
  T* out = context.pointer<T>(op.out, op.m, op.blocks * op.n) + row * op.out.stride + block * op.n;
  for (int64_t col = 0; col < op.n; col += vectors * lanes) {
    const int64_t width = std::min<int64_t>(vectors * lanes, op.n - col);
    switch (std::min<int64_t>(4, op.m - row)) {
      case 1:
        tile<1>(op, x, weight, bias, out, col, width);
        break;
      case 2:
        tile<2>(op, x, weight, bias, out, col, width);
        break;
      case 3:
        tile<3>(op, x, weight, bias, out, col, width);
        break;
      default:
        tile<4>(op, x, weight, bias, out, col, width);
    }
  }
}

void block_gemm(const BlockGemm& op, const CpuContext& context, int64_t block, int64_t row) {
  if (context.is_f32(op.out))
    block_rows<float>(op, context, block, row);
  else
    block_rows<Bf16>(op, context, block, row);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {
HWY_EXPORT(block_gemm);

namespace {

GemmShape shape_of(const BlockGemm& op, const CpuContext& context) {
  return {.m = op.m,
          .n = op.n,
          .k = op.k,
          .x_stride = op.x.stride,
          .weight_stride = op.weight.stride,
          .out_stride = op.out.stride,
          .dtype = context.tensor(op.x).dtype,
          .out_dtype = context.tensor(op.out).dtype,
          .bias = static_cast<bool>(op.bias),
          .accumulate = false,
          .scale = 1,
          .blocks = op.blocks};
}

bool by_onednn(const BlockGemm& op, const CpuContext& context) {
  return op.m > 8 && !context.gemms->implementation(shape_of(op, context)).empty();
}

template <class T>
void run_onednn(const BlockGemm& op, const CpuContext& context) {
  const int64_t bytes = workspace_bytes(op, context);
  context.gemms->run(shape_of(op, context), context.pointer<T>(op.x, op.m, op.blocks * op.k),
                     context.pointer<T>(op.weight, op.blocks * op.k, op.n),
                     op.bias ? context.block<T>(op.bias, op.blocks * op.n) : nullptr,
                     context.pointer<T>(op.out, op.m, op.blocks * op.n),
                     bytes > 0 ? context.workspace<float>(bytes) : nullptr);
}

}  // namespace

int64_t workspace_bytes(const BlockGemm& op, const CpuContext& context) {
  return by_onednn(op, context) ? context.gemms->scratch_bytes(shape_of(op, context)) : 0;
}

std::string_view variant(const BlockGemm& op, const CpuContext& context) {
  if (!by_onednn(op, context)) return "tiles";
  return context.gemms->implementation(shape_of(op, context));
}

void run(const BlockGemm& op, const CpuContext& context) {
  if (by_onednn(op, context)) {
    if (context.is_f32(op.x))
      run_onednn<float>(op, context);
    else
      run_onednn<Bf16>(op, context);
    return;
  }
  const int64_t tiles = divide_up(op.m, 4), grain = 1 + 8192 / (op.n * op.k);
  parallel_ranges(context.threads, op.blocks * tiles, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t item = begin; item < end; ++item)
      HWY_DYNAMIC_DISPATCH(block_gemm)(op, context, item / tiles, item % tiles * 4);
  });
}

}  // namespace tidemark::cpu
#endif
