// Products of a few rows (decode) with a packed weight (packed_weight.h), at the speed of memory.
// Where vdpbf16ps is fast each thread streams its part from end to end (gemm_dot.cpp). Elsewhere up
// to four groups of 16 outputs side by side: a load brings two weights of each of `lanes` outputs,
// the even one by a shift, the odd one by a mask; x is broadcast, so no sum crosses lanes. Which is
// faster was measured (docs/kernels.md). Limit: bytes of the weight.
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

// Groups of 16 outputs from j of m rows of x [m][k].
template <int m, int groups, class Out>
HWY_INLINE void outputs(const GemmArgs& g, const float* x, int64_t j) {
  constexpr int of_group = packed_rows / static_cast<int>(lanes), vectors = groups * of_group;
  const auto* weight =
      reinterpret_cast<const uint32_t*>(static_cast<const Bf16*>(g.weight) + j * g.k);
  const int64_t group = packed_rows * g.k / 2;
  Vec even[m][vectors], odd[m][vectors];
#pragma GCC unroll 8
  for (int i = 0; i < m; ++i)
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) even[i][v] = odd[i][v] = hn::Zero(floats);
  for (int64_t k = 0; k < g.k; k += 2, weight += packed_rows) {
    prefetch_groups<groups>(weight, k / 2 * packed_rows, group);
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      const auto both = hn::LoadU(WordTag(), weight + v / of_group * group + v % of_group * lanes);
      const Vec low = hn::BitCast(floats, hn::ShiftLeft<16>(both));
      const Vec high = hn::BitCast(floats, hn::And(both, hn::Set(WordTag(), 0xffff0000u)));
#pragma GCC unroll 8
      for (int i = 0; i < m; ++i) {
        even[i][v] = hn::MulAdd(low, all(x[i * g.k + k]), even[i][v]);
        odd[i][v] = hn::MulAdd(high, all(x[i * g.k + k + 1]), odd[i][v]);
      }
    }
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
template <class Out, class X>
void row_output(const GemmArgs& g, const X* x, int64_t x_row, int64_t j) {
  const Bf16* weight = static_cast<const Bf16*>(g.weight) + j * g.k;
  for (int64_t i = 0; i < g.m; ++i) {
    Vec total = hn::Zero(floats);
    for (int64_t k = 0; k < g.k; k += lanes)
      total = hn::MulAdd(load(weight + k), load(x + i * x_row + k), total);
    finish_one<Out>(g, i, j, sum(total));
  }
}

// Outputs [begin, end); what lies in groups is shared out by group.
template <int m, class Out>
void range(const GemmArgs& g, const float* x, int64_t begin, int64_t end) {
  // Whose sums stay in registers, of which there are many where a vector has 16 lanes.
  constexpr int groups = lanes < 16 || m > 4 ? 1 : m > 2 ? 2 : 4;
  int64_t j = begin;
  const int64_t grouped = std::min(end, rows_in_groups(g.n));
  for (; j + groups * packed_rows <= grouped; j += groups * packed_rows)
    outputs<m, groups, Out>(g, x, j);
  for (; j < grouped; j += packed_rows) outputs<m, 1, Out>(g, x, j);
  for (; j < end; ++j) row_output<Out>(g, x, g.k, j);
}

template <class Out>
void by_count(const GemmArgs& g, const float* x, int64_t begin, int64_t end) {
  with_row_count(g.m, [&](auto rows) { range<rows.value, Out>(g, x, begin, end); });
}

void packed(const GemmArgs& g, const float* x, int64_t begin, int64_t end) {
  g.out_f32 ? by_count<float>(g, x, begin, end) : by_count<Bf16>(g, x, begin, end);
}

template <class Out>
void dot_range(const GemmArgs& g, int64_t begin, int64_t end) {
  const auto* x = static_cast<const Bf16*>(g.x);
  const auto* weight = static_cast<const Bf16*>(g.weight);
  alignas(64) float sums[skinny_rows * packed_rows];
  int64_t j = begin;
  for (const int64_t grouped = std::min(end, rows_in_groups(g.n)); j < grouped; j += packed_rows) {
    dot_group(x, g.x_stride, g.m, weight + j * g.k, g.k, sums);
    finish_rows<Bf16, Out>(g, 0, g.m, j, packed_rows, sums, packed_rows);
  }
  for (; j < end; ++j) row_output<Out>(g, x, g.x_stride, j);
}

void packed_dot(const GemmArgs& g, int64_t begin, int64_t end) {
  g.out_f32 ? dot_range<float>(g, begin, end) : dot_range<Bf16>(g, begin, end);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {

HWY_EXPORT(unpack_rows);
HWY_EXPORT(packed);
HWY_EXPORT(packed_dot);

void run_skinny_packed(const GemmArgs& g, const Bf16Unit& unit, int threads, float* scratch) {
  if (!unit.dots) HWY_DYNAMIC_DISPATCH(unpack_rows)(g, scratch);
  // Shares of whole groups; a few are not worth waking a team.
  parallel_ranges(
      threads, divide_up(g.n, packed_rows), 1 + 512 / g.k, [&](int64_t first, int64_t last, int) {
        const int64_t begin = packed_rows * first, end = std::min(packed_rows * last, g.n);
        if (unit.dots)
          HWY_DYNAMIC_DISPATCH(packed_dot)(g, begin, end);
        else
          HWY_DYNAMIC_DISPATCH(packed)(g, scratch, begin, end);
      });
}

}  // namespace tidemark::cpu
#endif
