// Scores: 4 keys meet up to 4 heads, whose 16 sums of pairs are then added across lanes; turning
// the keys instead takes as many shuffles and passes memory. Values: two rows are interleaved into
// pairs of keys, which each head multiplies by a broadcast pair of its probabilities.
#include "backend/cpu/attention_dot.h"

#if defined(__x86_64__)

// GCC 12 takes the deliberately undefined vectors inside its intrinsics for mistakes (PR 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "backend/cpu/prefetch.h"

namespace tidemark::cpu {
namespace {

// The first `count` of 32 elements; the others are zero.
__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) inline __m512i load_some(
    const Bf16* from, int64_t count) {
  if (count >= 32) return _mm512_loadu_si512(from);
  return _mm512_maskz_loadu_epi16((1U << count) - 1, from);
}

// Every 128-bit block: its part of the four vectors' sums.
__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) inline __m512 block_sums(
    const __m512 (&v)[4]) {
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
  const __m512d x = _mm512_castps_pd(ab), y = _mm512_castps_pd(cd);
  return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                       _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) inline __m512 add_blocks(__m512 a,
                                                                                         __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}

template <int heads>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) void score_heads(
    const Bf16* q, int64_t q_row, const Bf16* k, int64_t k_stride, int64_t count, int64_t width,
    float* scores, int64_t row) {
  for (int64_t j = 0; j < count; j += 4) {
    __m512 sum[4][4];
#pragma GCC unroll 4
    for (int h = 0; h < 4; ++h)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) sum[h][i] = _mm512_setzero_ps();
    const Bf16* key[4];
    for (int64_t i = 0; i < 4; ++i) key[i] = k + std::min(j + i, count - 1) * k_stride;
    for (int64_t d = 0; d < width; d += 32) {
      __m512bh left[heads];
#pragma GCC unroll 4
      for (int h = 0; h < heads; ++h)
        left[h] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(q + h * q_row + d));
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        prefetch_ahead(key[i] + d);
        const auto right = reinterpret_cast<__m512bh>(load_some(key[i] + d, width - d));
#pragma GCC unroll 4
        for (int h = 0; h < heads; ++h) sum[h][i] = _mm512_dpbf16_ps(sum[h][i], left[h], right);
      }
    }
    const __m512 all = add_blocks(add_blocks(block_sums(sum[0]), block_sums(sum[1])),
                                  add_blocks(block_sums(sum[2]), block_sums(sum[3])));
    _mm_storeu_ps(scores + j, _mm512_castps512_ps128(all));
    if constexpr (heads > 1) _mm_storeu_ps(scores + row + j, _mm512_extractf32x4_ps(all, 1));
    if constexpr (heads > 2) _mm_storeu_ps(scores + 2 * row + j, _mm512_extractf32x4_ps(all, 2));
    if constexpr (heads > 3) _mm_storeu_ps(scores + 3 * row + j, _mm512_extractf32x4_ps(all, 3));
  }
}

// Interleaving leaves columns 0-3, 8-11, 16-19, 24-27 in the one vector, the others in the other.
alignas(64) constexpr int first_half[16] = {0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23};
alignas(64) constexpr int second_half[16] = {8,  9,  10, 11, 24, 25, 26, 27,
                                             12, 13, 14, 15, 28, 29, 30, 31};

template <int heads>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) void weigh_heads(
    const Bf16* p, int64_t row, const Bf16* v, int64_t v_stride, int64_t count, int64_t width,
    float* out, int64_t out_row) {
  const __m512i first = _mm512_load_si512(first_half), second = _mm512_load_si512(second_half);
  for (int64_t d = 0; d < width; d += 32) {
    __m512 sum[heads][2];
#pragma GCC unroll 8
    for (int h = 0; h < heads; ++h) sum[h][0] = sum[h][1] = _mm512_setzero_ps();
    for (int64_t j = 0; j < count; j += 2) {
      const Bf16 *low = v + j * v_stride + d, *high = j + 1 < count ? low + v_stride : low;
      prefetch_ahead(low);
      prefetch_ahead(high);
      const __m512i a = load_some(low, width - d), b = load_some(high, width - d);
      const auto even = reinterpret_cast<__m512bh>(_mm512_unpacklo_epi16(a, b));
      const auto odd = reinterpret_cast<__m512bh>(_mm512_unpackhi_epi16(a, b));
#pragma GCC unroll 8
      for (int h = 0; h < heads; ++h) {
        int pair = 0;
        std::memcpy(&pair, p + h * row + j, sizeof(pair));
        const auto weight = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
        sum[h][0] = _mm512_dpbf16_ps(sum[h][0], weight, even);
        sum[h][1] = _mm512_dpbf16_ps(sum[h][1], weight, odd);
      }
    }
#pragma GCC unroll 8
    for (int h = 0; h < heads; ++h) {
      float* to = out + h * out_row + d;
      const __m512 lower = _mm512_permutex2var_ps(sum[h][0], first, sum[h][1]);
      const __m512 upper = _mm512_permutex2var_ps(sum[h][0], second, sum[h][1]);
      _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), lower));
      _mm512_storeu_ps(to + 16, _mm512_add_ps(_mm512_loadu_ps(to + 16), upper));
    }
  }
}

}  // namespace

void dot_scores(const Bf16* q, int64_t q_row, int64_t heads, const Bf16* k, int64_t k_stride,
                int64_t count, int64_t width, float* scores, int64_t row) {
  constexpr decltype(&score_heads<1>) run[] = {score_heads<1>, score_heads<2>, score_heads<3>,
                                               score_heads<4>};
  for (int64_t h = 0; h < heads; h += 4)
    run[std::min<int64_t>(4, heads - h) - 1](q + h * q_row, q_row, k, k_stride, count, width,
                                             scores + h * row, row);
}

void dot_values(const Bf16* p, int64_t row, int64_t heads, const Bf16* v, int64_t v_stride,
                int64_t count, int64_t width, float* out, int64_t out_row) {
  constexpr decltype(&weigh_heads<1>) run[] = {weigh_heads<1>, weigh_heads<2>, weigh_heads<3>,
                                               weigh_heads<4>, weigh_heads<5>, weigh_heads<6>,
                                               weigh_heads<7>, weigh_heads<8>};
  for (int64_t h = 0; h < heads; h += 8)
    run[std::min<int64_t>(8, heads - h) - 1](p + h * row, row, v, v_stride, count, width,
                                             out + h * out_row, out_row);
}

}  // namespace tidemark::cpu

#else

namespace tidemark::cpu {
void dot_scores(const Bf16*, int64_t, int64_t, const Bf16*, int64_t, int64_t, int64_t, float*,
                int64_t) {}
void dot_values(const Bf16*, int64_t, int64_t, const Bf16*, int64_t, int64_t, int64_t, float*,
                int64_t) {}
}  // namespace tidemark::cpu

#endif
