// Products of a few rows (decode: one per sequence), at the speed of memory.
// x is unpacked to fp32 once; each thread takes a share of the weight's rows. With one row of x it
// takes short rows one after the other, so that it reads one stream of memory from end to end: rows
// side by side cost a third of the bandwidth (docs/kernels.md). Long ones lose less so, and eight
// at a time load x less often; very short ones are one stream even so. 4 or 2 at a time go with
// more rows of x, which fill the L1 cache. bf16 weights are loaded 32 at a time: even ones by a
// shift, odd ones by a mask, x being unpacked in that order. Limit: bytes of the weight; 8 rows of
// x are where arithmetic catches up.
#include <algorithm>

#include "backend/cpu/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/gemm_skinny.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/gemm-inl.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

constexpr int64_t short_row = 128;  // up to here a row's own sum and store take longer than it
constexpr int64_t long_row =
    2048;  // from here on x and what is on its way no longer share the L1 cache

// Rows of x to fp32 in the order load_pair gives, then what is left of k.
template <class T>
void unpack_x(const GemmArgs& g, float* to) {
  const int64_t stride = round_up(g.k, vector_floats), whole = g.k / (2 * lanes) * (2 * lanes);
  for (int64_t i = 0; i < g.m; ++i) {
    const T* from = static_cast<const T*>(g.x) + i * g.x_stride;
    float* row = to + i * stride;
    for (int64_t k = 0; k < whole; k += 2 * lanes) {
      const Pair pair = load_pair(from + k);
      store(pair.first, row + k);
      store(pair.second, row + k + lanes);
    }
    for (int64_t k = whole; k < g.k; ++k) row[k] = static_cast<float>(from[k]);
  }
}

template <int m, class T, class Out>
HWY_INLINE void write_row(const GemmArgs& g, const float* x, int64_t j, const Vec* sums) {
  const int64_t stride = round_up(g.k, vector_floats), whole = g.k / (2 * lanes) * (2 * lanes);
  const T* weight = static_cast<const T*>(g.weight) + j * g.weight_stride;
  for (int i = 0; i < m; ++i) {
    Vec most = sums[i];
    int64_t k = whole;
    if (k + lanes <= g.k) {
      most = hn::MulAdd(load(weight + k), load(x + i * stride + k), most);
      k += lanes;
    }
    float value = sum(most);
    for (; k < g.k; ++k) value += static_cast<float>(weight[k]) * x[i * stride + k];
    finish_one<Out>(g, i, j, value);
  }
}

// Row j of the weight times the one row of x, four pairs of vectors at a time, with what follows
// 2 KiB further on fetched meanwhile: with many operations to each line of memory too few lines are
// on their way otherwise.
template <class T, class Out>
HWY_INLINE void weight_row(const GemmArgs& g, const float* x, int64_t j) {
  constexpr int64_t step = 2 * lanes, line = 64 / sizeof(T), ahead = 2048 / sizeof(T);
  const int64_t whole = g.k / step * step;
  const T* weight = static_cast<const T*>(g.weight) + j * g.weight_stride;
  Vec total[4] = {hn::Zero(floats), hn::Zero(floats), hn::Zero(floats), hn::Zero(floats)};
  const auto add = [&](int64_t k, Vec& sum) {
    const Pair w = load_pair(weight + k);
    sum = hn::MulAdd(w.first, load(x + k), sum);
    sum = hn::MulAdd(w.second, load(x + k + lanes), sum);
  };
  int64_t k = 0;
  for (; k + 4 * step <= whole; k += 4 * step) {
#pragma GCC unroll 8
    for (int64_t i = 0; i < 4 * step; i += line) __builtin_prefetch(weight + k + ahead + i);
    add(k, total[0]);
    add(k + step, total[1]);
    add(k + 2 * step, total[2]);
    add(k + 3 * step, total[3]);
  }
  for (; k < whole; k += step) add(k, total[0]);
  const Vec sums = hn::Add(hn::Add(total[0], total[1]), hn::Add(total[2], total[3]));
  write_row<1, T, Out>(g, x, j, &sums);
}

// Rows [j, j + rows) of the weight times m rows of x.
template <int m, int rows, class T, class Out>
HWY_INLINE void weight_rows(const GemmArgs& g, const float* x, int64_t j) {
  const int64_t stride = round_up(g.k, vector_floats), whole = g.k / (2 * lanes) * (2 * lanes);
  const T* weight = static_cast<const T*>(g.weight) + j * g.weight_stride;
  Vec total[rows][m];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < m; ++i) total[r][i] = hn::Zero(floats);
  for (int64_t k = 0; k < whole; k += 2 * lanes) {
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      const Pair w = load_pair(weight + r * g.weight_stride + k);
#pragma GCC unroll 8
      for (int i = 0; i < m; ++i) {
        total[r][i] = hn::MulAdd(w.first, load(x + i * stride + k), total[r][i]);
        total[r][i] = hn::MulAdd(w.second, load(x + i * stride + k + lanes), total[r][i]);
      }
    }
  }
  for (int r = 0; r < rows; ++r) write_row<m, T, Out>(g, x, j + r, total[r]);
}

template <int m, int rows, class T, class Out>
void rows_together(const GemmArgs& g, const float* x, int64_t begin, int64_t end) {
  int64_t j = begin;
  for (; j + rows <= end; j += rows) weight_rows<m, rows, T, Out>(g, x, j);
  for (; j < end; ++j) weight_rows<m, 1, T, Out>(g, x, j);
}

template <int m, class T, class Out>
void some_rows(const GemmArgs& g, const float* x, int64_t begin, int64_t end) {
  if constexpr (m > 1) return rows_together < m, m <= 4 ? 4 : 2, T, Out > (g, x, begin, end);
  if (g.k >= long_row || g.k <= short_row) return rows_together<1, 8, T, Out>(g, x, begin, end);
  for (int64_t j = begin; j < end; ++j) weight_row<T, Out>(g, x, j);
}

template <class T, class Out>
void by_count(const GemmArgs& g, const float* x, int64_t begin, int64_t end) {
  with_row_count(g.m, [&](auto rows) { some_rows<rows.value, T, Out>(g, x, begin, end); });
}

void skinny_unpack(const GemmArgs& g, float* x) {
  g.x_f32 ? unpack_x<float>(g, x) : unpack_x<Bf16>(g, x);
}

void skinny(const GemmArgs& g, const float* x, int64_t begin, int64_t end) {
  if (g.x_f32)
    by_count<float, float>(g, x, begin, end);
  else if (g.out_f32)
    by_count<Bf16, float>(g, x, begin, end);
  else
    by_count<Bf16, Bf16>(g, x, begin, end);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {

HWY_EXPORT(skinny_unpack);
HWY_EXPORT(skinny);

int64_t skinny_workspace_bytes(const Gemm& op) {
  return op.m * round_up(op.k, vector_floats) * 4;
}

void run_skinny(const GemmArgs& g, int threads, float* scratch) {
  HWY_DYNAMIC_DISPATCH(skinny_unpack)(g, scratch);
  // Shares of whole groups of 4 rows; a few thousand weights are not worth waking a team.
  const int64_t groups = divide_up(g.n, 4), grain = 1 + 8192 / g.k;
  parallel_ranges(threads, groups, grain, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(skinny)(g, scratch, 4 * begin, std::min(4 * end, g.n));
  });
}

}  // namespace tidemark::cpu
#endif
