// Products of many rows where oneDNN has no optimised implementation.
// A task turns 64 rows of the weight into a fp32 panel [k][64] and multiplies all of x with it, 96
// rows at a time (product-inl.h). Depth is cut at 512 so that panel and rows stay in the L2 cache.
// Limit: multiply-adds in fp32; turning a panel costs 1 / m of them.
#include <algorithm>

#include "backend/cpu/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/gemm_tiled.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/gemm-inl.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/product-inl.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

constexpr int64_t panel_cols = 64, panel_depth = 512, panel_rows = 96;

// scratch: panel [depth][64], x [96][depth], sums [m][64].
template <class T, class Out>
void panel(const GemmArgs& g, int64_t item, float* scratch) {
  const int64_t first = item * panel_cols, cols = std::min(panel_cols, g.n - first);
  float* turned = scratch;
  float* rows = turned + panel_depth * panel_cols;
  float* sums = rows + panel_rows * panel_depth;
  for (int64_t k = 0; k < g.k; k += panel_depth) {
    const int64_t depth = std::min(panel_depth, g.k - k);
    for (int64_t j = 0; j < cols; ++j) {
      const T* weight = static_cast<const T*>(g.weight) + (first + j) * g.weight_stride + k;
      for (int64_t d = 0; d < depth; ++d)
        turned[d * panel_cols + j] = static_cast<float>(weight[d]);
    }
    for (int64_t i = 0; i < g.m; i += panel_rows) {
      const int64_t count = std::min(panel_rows, g.m - i);
      for (int64_t r = 0; r < count; ++r)
        unpack_row(static_cast<const T*>(g.x) + (i + r) * g.x_stride + k, depth,
                   rows + r * panel_depth);
      multiply({.a = rows,
                .a_row = panel_depth,
                .a_depth = 1,
                .b = turned,
                .b_row = panel_cols,
                .c = sums + i * panel_cols,
                .c_row = panel_cols,
                .rows = count,
                .cols = round_up(cols, lanes),
                .depth = depth,
                .accumulate = k > 0});
    }
  }
  finish_rows<T, Out>(g, 0, g.m, first, cols, sums, panel_cols);
}

void tiled(const GemmArgs& g, int64_t item, float* scratch) {
  if (g.x_f32)
    panel<float, float>(g, item, scratch);
  else if (g.out_f32)
    panel<Bf16, float>(g, item, scratch);
  else
    panel<Bf16, Bf16>(g, item, scratch);
}

int64_t tiled_floats(int64_t m) {
  return panel_depth * panel_cols + panel_rows * panel_depth + m * panel_cols;
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {

HWY_EXPORT(tiled);
HWY_EXPORT(tiled_floats);

int64_t tiled_workspace_bytes(const Gemm& op, int threads) {
  return threads * HWY_DYNAMIC_DISPATCH(tiled_floats)(op.m) * 4;
}

void run_tiled(const GemmArgs& g, int threads, float* scratch) {
  const int64_t size = HWY_DYNAMIC_DISPATCH(tiled_floats)(g.m);
  parallel_items(threads, divide_up(g.n, 64), [&](int64_t item, int thread) {
    HWY_DYNAMIC_DISPATCH(tiled)(g, item, scratch + thread * size);
  });
}

}  // namespace tidemark::cpu
#endif
