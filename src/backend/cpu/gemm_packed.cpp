// Products of a few rows (decode) with a packed weight (packed_weight.h), at the speed of memory:
// each thread streams whole blocks from end to end. A load brings two weights of each of `lanes`
// outputs: the even one by a shift, the odd one by a mask; x is broadcast, so no sum crosses lanes.
// Limit: bytes of the weight. More rows of x take fewer outputs at a time, whose sums stay in
// registers.
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

// Outputs [j, j + cols) of m rows of x [m][k].
template <int m, int cols, class Out>
HWY_INLINE void outputs(const GemmArgs& g, const FetchAhead& ahead, const float* x, int64_t j) {
  constexpr int vectors = cols / static_cast<int>(lanes);
  const int64_t panel = j / packed_rows, width = panel_rows(panel, g.n);
  const auto* weight = reinterpret_cast<const uint32_t*>(static_cast<const Bf16*>(g.weight) +
                                                         panel * packed_rows * g.k) +
                       j % packed_rows;
  const int64_t l1 = ahead.l1 / 4, l2 = ahead.l2 / 4;  // words
  Vec even[m][vectors], odd[m][vectors];
#pragma GCC unroll 8
  for (int i = 0; i < m; ++i)
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) even[i][v] = odd[i][v] = hn::Zero(floats);
  for (int64_t k = 0; k < g.k; k += 2) {
#pragma GCC unroll 8
    for (int c = 0; c < cols; c += 16) __builtin_prefetch(weight + l1 + c);
    if (l2 > 0)
#pragma GCC unroll 8
      for (int c = 0; c < cols; c += 16) __builtin_prefetch(weight + l2 + c, 0, 2);
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      const auto both = hn::LoadU(WordTag(), weight + v * lanes);
      const Vec low = hn::BitCast(floats, hn::ShiftLeft<16>(both));
      const Vec high = hn::BitCast(floats, hn::And(both, hn::Set(WordTag(), 0xffff0000u)));
#pragma GCC unroll 8
      for (int i = 0; i < m; ++i) {
        even[i][v] = hn::MulAdd(low, all(x[i * g.k + k]), even[i][v]);
        odd[i][v] = hn::MulAdd(high, all(x[i * g.k + k + 1]), odd[i][v]);
      }
    }
    weight += width;
  }
  for (int i = 0; i < m; ++i)
    for (int v = 0; v < vectors; ++v) {
      const int64_t at = j + v * lanes;
      Out* out = static_cast<Out*>(g.out) + i * g.out_stride + at;
      Vec value = hn::Add(even[i][v], odd[i][v]);
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

// Outputs [begin, end); what lies in panels is shared out by 16.
template <int m, class Out>
void range(const GemmArgs& g, const FetchAhead& ahead, const float* x, int64_t begin, int64_t end) {
  constexpr int cols = m == 1 ? 64 : m <= 4 ? 32 : 16;
  int64_t j = begin;
  const int64_t paneled = std::min(end, rows_in_panels(g.n));
  while (j < paneled)
    if (j % cols == 0 && j + cols <= paneled)
      outputs<m, cols, Out>(g, ahead, x, j), j += cols;
    else
      outputs<m, 16, Out>(g, ahead, x, j), j += 16;
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
  // Shares of 16 outputs, a line of memory each time; a few are not worth waking a team.
  parallel_ranges(threads, divide_up(g.n, 16), 1 + 512 / g.k, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(packed)(g, ahead, scratch, 16 * begin, std::min(16 * end, g.n));
  });
}

}  // namespace tidemark::cpu
#endif
