// From sums in fp32 to the result of a product: out (+)= scale * (sums + bias).
#if defined(TIDEMARK_GEMM_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_GEMM_INL_H
#undef TIDEMARK_GEMM_INL_H
#else
#define TIDEMARK_GEMM_INL_H
#endif

#include "backend/cpu/gemm.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {

// Rows [row, row + rows) and columns [col, col + cols) of the result; sums [rows][sums_row], whose
// first element is theirs, padded to whole vectors. T: of the bias.
template <class T, class Out>
HWY_INLINE void finish_rows(const GemmArgs& g, int64_t row, int64_t rows, int64_t col, int64_t cols,
                            const float* sums, int64_t sums_row) {
  const T* bias = g.bias ? static_cast<const T*>(g.bias) + col : nullptr;
  const bool stream = g.streams && in_whole_lines(static_cast<Out*>(g.out), g.out_stride, col);
  for (int64_t i = 0; i < rows; ++i) {
    Out* out = static_cast<Out*>(g.out) + (row + i) * g.out_stride + col;
    const auto finished = [&](int64_t j) {
      Vec value = load(sums + i * sums_row + j);
      if (bias) value = hn::Add(value, load_row(bias + j, cols - j));
      value = hn::Mul(value, all(g.scale));
      return g.accumulate ? hn::Add(value, load_row(out + j, cols - j)) : value;
    };
    store_values(finished, out, cols, stream);
  }
}

// One element of the result.
template <class Out>
void finish_one(const GemmArgs& g, int64_t i, int64_t j, float value) {
  Out* out = static_cast<Out*>(g.out) + i * g.out_stride + j;
  if (g.bias)
    value += g.x_f32 ? static_cast<const float*>(g.bias)[j]
                     : static_cast<float>(static_cast<const Bf16*>(g.bias)[j]);
  value *= g.scale;
  if (g.accumulate) value += static_cast<float>(*out);
  *out = static_cast<Out>(value);
}

}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
