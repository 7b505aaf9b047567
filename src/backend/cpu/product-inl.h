// The small matrix product inside attention, the chunked state-space form and the tiled GEMM.
// A 6 x 4-vector block of the result stays in registers (6 x 2 where there are 16 of them); each
// step of the depth loads one row of b and multiplies it by 6 broadcast elements of a. Nothing is
// packed: a may be strided both ways, b and c are fp32 rows padded to whole vectors.
// Method: Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication (2008), the
// inner kernel only; callers choose blocks that stay in the L2 cache.
#if defined(TIDEMARK_PRODUCT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_PRODUCT_INL_H
#undef TIDEMARK_PRODUCT_INL_H
#else
#define TIDEMARK_PRODUCT_INL_H
#endif

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {

// c[rows, cols] (+)= a[rows, depth] * b[depth, cols]
struct Product {
  const float* a;
  int64_t a_row, a_depth;  // element (i, k) of a at i * a_row + k * a_depth
  const float* b;
  int64_t b_row;
  float* c;
  int64_t c_row;
  int64_t rows, cols, depth;
  bool accumulate;
};

template <int rows, int vectors>
HWY_INLINE void product_block(const Product& p, int64_t row, int64_t col, int64_t depth) {
  Vec sum[rows][vectors];
  float* c = p.c + row * p.c_row + col;
  if (p.accumulate) {
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < vectors; ++j) sum[i][j] = load(c + i * p.c_row + j * lanes);
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < vectors; ++j) sum[i][j] = hn::Zero(floats);
  }
  const float* a = p.a + row * p.a_row;
  const float* b = p.b + col;
  for (int64_t k = 0; k < depth; ++k) {
    Vec right[vectors];
#pragma GCC unroll 8
    for (int j = 0; j < vectors; ++j) right[j] = load(b + j * lanes);
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
      const Vec left = all(a[i * p.a_row]);
#pragma GCC unroll 8
      for (int j = 0; j < vectors; ++j) sum[i][j] = hn::MulAdd(left, right[j], sum[i][j]);
    }
    a += p.a_depth;
    b += p.b_row;
  }
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < vectors; ++j) store(sum[i][j], c + i * p.c_row + j * lanes);
}

template <int vectors>
HWY_INLINE void product_panel(const Product& p, int64_t col) {
  int64_t row = 0;
  for (; row + 6 <= p.rows; row += 6) product_block<6, vectors>(p, row, col, p.depth);
  if (row + 4 <= p.rows) product_block<4, vectors>(p, row, col, p.depth), row += 4;
  if (row + 2 <= p.rows) product_block<2, vectors>(p, row, col, p.depth), row += 2;
  if (row < p.rows) product_block<1, vectors>(p, row, col, p.depth);
}

inline HWY_NOINLINE void multiply(const Product& p) {
  constexpr int widest = HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_EMU128 ? 2 : 4;
  int64_t col = 0;
  for (; col + widest * lanes <= p.cols; col += widest * lanes) product_panel<widest>(p, col);
  // A last vector may be partly padding.
  if constexpr (widest == 4) {
    if (col + 2 * lanes <= p.cols) product_panel<2>(p, col), col += 2 * lanes;
  }
  for (; col < p.cols; col += lanes) product_panel<1>(p, col);
}

}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
