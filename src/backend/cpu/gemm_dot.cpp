// Several lines of the group a turn, into sums of their own so that none waits for another. Nothing
// is fetched ahead for few rows: the hardware follows one stream better than it is told to, as long
// as the products of a line do not fill the queue that its next loads wait in.
#include "backend/cpu/gemm.h"

#if defined(__x86_64__)

// GCC 12 takes the deliberately undefined vectors inside its intrinsics for mistakes (PR 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <cstring>

#include "backend/cpu/prefetch.h"

namespace tidemark::cpu {
namespace {

__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) inline __m512bh all_pairs(
    const Bf16* pair) {
  int both = 0;
  std::memcpy(&both, pair, sizeof(both));
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(both));
}

template <int m>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) void rows(const Bf16* x,
                                                                          int64_t x_row,
                                                                          const Bf16* weight,
                                                                          int64_t k, float* sums) {
  constexpr int lines = m <= 4 ? 4 : 2;
  __m512 total[lines][m];
#pragma GCC unroll 4
  for (int l = 0; l < lines; ++l)
#pragma GCC unroll 8
    for (int i = 0; i < m; ++i) total[l][i] = _mm512_setzero_ps();
  for (int64_t j = 0; j < k; j += 2 * lines) {
#pragma GCC unroll 4
    for (int l = 0; l < lines; ++l, weight += 32) {
      if constexpr (m > 3) prefetch_ahead(weight);
      const auto pairs = reinterpret_cast<__m512bh>(_mm512_loadu_si512(weight));
#pragma GCC unroll 8
      for (int i = 0; i < m; ++i)
        total[l][i] = _mm512_dpbf16_ps(total[l][i], pairs, all_pairs(x + i * x_row + j + 2 * l));
    }
  }
  for (int i = 0; i < m; ++i) {
    for (int l = 1; l < lines; ++l) total[0][i] = _mm512_add_ps(total[0][i], total[l][i]);
    _mm512_storeu_ps(sums + 16 * i, total[0][i]);
  }
}

}  // namespace

void dot_group(const Bf16* x, int64_t x_row, int64_t m, const Bf16* weight, int64_t k,
               float* sums) {
  with_row_count(m, [&](auto count) { rows<count.value>(x, x_row, weight, k, sums); });
}

}  // namespace tidemark::cpu

#else

namespace tidemark::cpu {
void dot_group(const Bf16*, int64_t, int64_t, const Bf16*, int64_t, float*) {}
}  // namespace tidemark::cpu

#endif
