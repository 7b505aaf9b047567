// Products of a few rows (decode) with a packed weight (packed_weight.h), at the speed of memory:
// each thread streams whole groups of 16 outputs from end to end. A load brings two weights of each
// of `lanes` outputs: the even one by a shift, the odd one by a mask; x is broadcast, so no sum
// crosses lanes. Limit: bytes of the weight.
#include <algorithm>

#include "backend/cpu/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/gemm_packed.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/gemm-inl.h"
#include "backend/cpu/packed_weight.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

void unpack_rows(const GemmArgs& g, float* to) {
  for (int64_t i = 0; i < g.m; ++i)
    unpack_row(static_cast<const Bf16*>(g.x) + i * g.x_stride, g.k, to + i * g.k);
}

// The 16 outputs from j of m rows of x [m][k].
template <int m, class Out>
HWY_INLINE void group(const GemmArgs& g, const FetchAhead& ahead, const float* x, int64_t j) {
  constexpr int vectors = packed_rows / static_cast<int>(lanes);
  constexpr int parts = m == 1 ? 2 : 1;  // sums that do not wait for each other
  const auto* weight =
      reinterpret_cast<const uint32_t*>(static_cast<const Bf16*>(g.weight) + j * g.k);
  const int64_t l1 = ahead.l1 / 4, l2 = ahead.l2 / 4;  // words
  Vec even[parts][m][vectors], odd[parts][m][vectors];
#pragma GCC unroll 8
  for (int s = 0; s < parts; ++s)
#pragma GCC unroll 8
    for (int i = 0; i < m; ++i)
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) even[s][i][v] = odd[s][i][v] = hn::Zero(floats);
  for (int64_t k = 0; k < g.k;)
#pragma GCC unroll 8
    for (int s = 0; s < parts; ++s, k += 2, weight += packed_rows) {
      __builtin_prefetch(weight + l1);
      if (l2 > 0) __builtin_prefetch(weight + l2, 0, 2);
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) {
        const auto both = hn::LoadU(WordTag(), weight + v * lanes);
        const Vec low = hn::BitCast(floats, hn::ShiftLeft<16>(both));
        const Vec high = hn::BitCast(floats, hn::And(both, hn::Set(WordTag(), 0xffff0000u)));
#pragma GCC unroll 8
        for (int i = 0; i < m; ++i) {
          even[s][i][v] = hn::MulAdd(low, all(x[i * g.k + k]), even[s][i][v]);
          odd[s][i][v] = hn::MulAdd(high, all(x[i * g.k + k + 1]), odd[s][i][v]);
        }
      }
    }
  for (int i = 0; i < m; ++i)
    for (int v = 0; v < vectors; ++v) {
      const int64_t at = j + v * lanes;
      Out* out = static_cast<Out*>(g.out) + i * g.out_stride + at;
      Vec value = hn::Add(even[0][i][v], odd[0][i][v]);
      for (int s = 1; s < parts; ++s) value = hn::Add(value, hn::Add(even[s][i][v], odd[s][i][v]));
      if (g.bias) value = hn::Add(value, load(static_cast<const Bf16*>(g.bias) + at));
      value = hn::Mul(value, all(g.scale));
      if (g.accumulate) value = hn::Add(value, load(out));
      store(value, out);
    }
}

// Output j, whose row of the weight lies as it is.
template <class Out>
void row_output(const GemmArgs& g, const float* x, int64_t j) {
  const Bf16* weight = static_cast<const Bf16*>(g.weight) + j * g.k;
  for (int64_t i = 0; i < g.m; ++i) {
    Vec total = hn::Zero(floats);
    for (int64_t k = 0; k < g.k; k += lanes)
      total = hn::MulAdd(load(weight + k), load(x + i * g.k + k), total);
    finish_one<Out>(g, i, j, sum(total));
  }
}

// Outputs [begin, end); what lies in groups is shared out by group.
template <int m, class Out>
void range(const GemmArgs& g, const FetchAhead& ahead, const float* x, int64_t begin, int64_t end) {
  int64_t j = begin;
  const int64_t grouped = std::min(end, rows_in_groups(g.n));
  for (; j < grouped; j += packed_rows) group<m, Out>(g, ahead, x, j);
  for (; j < end; ++j) row_output<Out>(g, x, j);
}

template <class Out>
void by_count(const GemmArgs& g, const FetchAhead& ahead, const float* x, int64_t begin,
              int64_t end) {
  switch (g.m) {
    case 1:
      return range<1, Out>(g, ahead, x, begin, end);
    case 2:
      return range<2, Out>(g, ahead, x, begin, end);
    case 3:
      return range<3, Out>(g, ahead, x, begin, end);
    case 4:
      return range<4, Out>(g, ahead, x, begin, end);
    case 5:
      return range<5, Out>(g, ahead, x, begin, end);
    case 6:
      return range<6, Out>(g, ahead, x, begin, end);
    case 7:
      return range<7, Out>(g, ahead, x, begin, end);
    case 8:
      return range<8, Out>(g, ahead, x, begin, end);
    default:
      fail("product with a packed weight: at most {} rows, found {}", skinny_rows, g.m);
  }
}

void packed(const GemmArgs& g, const FetchAhead& ahead, const float* x, int64_t begin,
            int64_t end) {
  g.out_f32 ? by_count<float>(g, ahead, x, begin, end) : by_count<Bf16>(g, ahead, x, begin, end);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {

HWY_EXPORT(unpack_rows);
HWY_EXPORT(packed);

void run_skinny_packed(const GemmArgs& g, const FetchAhead& ahead, int threads, float* scratch) {
  HWY_DYNAMIC_DISPATCH(unpack_rows)(g, scratch);
  // Shares of whole groups; a few are not worth waking a team.
  parallel_ranges(threads, divide_up(g.n, packed_rows), 1 + 512 / g.k,
                  [&](int64_t begin, int64_t end, int) {
                    HWY_DYNAMIC_DISPATCH(packed)
                    (g, ahead, scratch, packed_rows * begin, std::min(packed_rows * end, g.n));
                  });
}

}  // namespace tidemark::cpu
#endif
