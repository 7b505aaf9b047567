// vdpbf16ps: a block of 6 x 4 vectors of sums stays in registers, as in product-inl.h; each step of
// two depths loads a row of the right side and multiplies it by 6 broadcast pairs of the left.
#include "backend/cpu/bf16_product.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstring>

namespace tidemark::cpu {
namespace {

template <int rows, int vectors>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) void dot_block(const Bf16Product& p,
                                                                               int64_t row,
                                                                               int64_t col) {
  float* c = p.c + col / product_cols * p.c_group + row * p.c_row;
  __m512 sum[rows][vectors];
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < vectors; ++j)
      sum[i][j] =
          p.accumulate ? _mm512_loadu_ps(c + i * p.c_row + j * p.c_group) : _mm512_setzero_ps();
  const Bf16* a = p.a + row * p.a_row;
  const Bf16* b = p.b + p.offset_of_group(col / product_cols);
  int64_t group[vectors];
  for (int j = 0; j < vectors; ++j) group[j] = p.offset_of_group(j);
  const int64_t jump = p.a_step - product_depth;
  for (int64_t k = 0; k < p.depth; k += 2) {
    __m512bh right[vectors];
#pragma GCC unroll 8
    for (int j = 0; j < vectors; ++j)
      right[j] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(b + group[j]));
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
      int pair = 0;
      std::memcpy(&pair, a + i * p.a_row, sizeof(pair));
      const auto left = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
#pragma GCC unroll 8
      for (int j = 0; j < vectors; ++j) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], left, right[j]);
    }
    a += (k + 2) % product_depth ? 2 : 2 + jump;
    b += p.b_row;
  }
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < vectors; ++j) _mm512_storeu_ps(c + i * p.c_row + j * p.c_group, sum[i][j]);
}

template <int vectors>
void dot_panel(const Bf16Product& p, int64_t col) {
  int64_t row = 0;
  for (; row + 6 <= p.rows; row += 6) dot_block<6, vectors>(p, row, col);
  if (row + 4 <= p.rows) dot_block<4, vectors>(p, row, col), row += 4;
  if (row + 2 <= p.rows) dot_block<2, vectors>(p, row, col), row += 2;
  if (row < p.rows) dot_block<1, vectors>(p, row, col);
}

void multiply_by_dots(const Bf16Product& p) {
  int64_t col = 0;
  for (; col + 64 <= p.cols; col += 64) dot_panel<4>(p, col);
  if (col + 32 <= p.cols) dot_panel<2>(p, col), col += 32;
  if (col < p.cols) dot_panel<1>(p, col);
}

void nothing() {}

}  // namespace

const Bf16Unit* dot_unit() {
  static const Bf16Unit unit{.name = "BF16 dot",
                             .begin = nothing,
                             .multiply = multiply_by_dots,
                             .end = nothing,
                             .dots = true};
  static const bool found = __builtin_cpu_supports("avx512bf16") &&
                            __builtin_cpu_supports("avx512bw") && __builtin_cpu_is("amd");
  return found ? &unit : nullptr;
}

}  // namespace tidemark::cpu

#else

namespace tidemark::cpu {
const Bf16Unit* dot_unit() {
  return nullptr;
}
}  // namespace tidemark::cpu

#endif
