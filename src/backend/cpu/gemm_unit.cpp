// Products of many rows with a packed weight (packed_weight.h) on a unit for bf16 (bf16_product.h).
// A thread takes panels of 64 outputs for up to 256 rows of x, 32 rows at a time, so that x and a
// panel stay in the L2 cache and half a panel's tiles near the core; meanwhile the next panel is
// fetched into L2. A long depth is cut, or x would not stay: then the sums of 8 panels wait in
// memory between its parts.
// Limit: on AMX the L2 cache, which every tile but the sums comes from: 2 KiB for 32 KFLOP
// (docs/kernels.md).
#include <algorithm>

#include "backend/cpu/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/gemm_unit.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/bf16_product.h"
#include "backend/cpu/gemm-inl.h"
#include "backend/cpu/packed_weight.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

void finish(const GemmArgs& g, int64_t row, int64_t rows, int64_t col, const float* sums,
            int64_t sums_row) {
  g.out_f32 ? finish_rows<Bf16, float>(g, row, rows, col, packed_rows, sums, sums_row)
            : finish_rows<Bf16, Bf16>(g, row, rows, col, packed_rows, sums, sums_row);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {

HWY_EXPORT(finish);

namespace {

constexpr int64_t block_rows = 256, strip_rows = 32, most_depth = 2048, part_depth = 1024;
constexpr int64_t group_panels = 8;

// How the depth is cut.
int64_t depth_of_part(int64_t k) {
  return k <= most_depth ? k : round_up(divide_up(k, divide_up(k, part_depth)), packed_depth);
}

// Scratch: the last rows of x, where they are no whole tile, with zeros below; sums by thread.
int64_t last_rows_bytes(int64_t m, int64_t k) {
  return m % product_rows == 0 ? 0 : product_rows * k * size_bytes(DType::bf16);
}
int64_t sums_row(int64_t k) {
  return depth_of_part(k) == k ? packed_rows : group_panels * packed_rows;
}
int64_t sums_floats(int64_t m, int64_t k) {
  return (depth_of_part(k) == k ? strip_rows : std::min(block_rows, round_up(m, product_rows))) *
         sums_row(k);
}

struct Block {
  int64_t row, rows;      // of x
  int64_t panel, panels;  // of the weight
};

// A block's panels, at most group_panels where the depth is cut. `next`: what follows the last.
void run_block(const GemmArgs& g, const Bf16Unit& unit, const Block& b, const Bf16* last_rows,
               float* sums, const Bf16* next) {
  const int64_t part = depth_of_part(g.k), row_of_sums = sums_row(g.k);
  const auto* weight = static_cast<const Bf16*>(g.weight);
  const auto panel_at = [&](int64_t panel, int64_t k) {
    return weight + (panel * g.k + k) * packed_rows;
  };
  for (int64_t k = 0; k < g.k; k += part) {
    const int64_t depth = std::min(part, g.k - k);
    for (int64_t p = 0; p < b.panels; ++p) {
      const Bf16* ahead = p + 1 < b.panels ? panel_at(b.panel + p + 1, k)
                          : k + part < g.k ? panel_at(b.panel, k + part)
                                           : next;
      // Shared out over the strips and the two halves of each.
      const int64_t fetches = divide_up(b.rows, strip_rows) * 2 * (depth / product_depth);
      const int64_t step = round_up(divide_up(depth * packed_rows * 2, fetches), 64);
      for (int64_t i = 0; i < b.rows; i += strip_rows) {
        const int64_t rows = std::min(strip_rows, b.rows - i), row = b.row + i;
        float* at = part == g.k ? sums : sums + i * row_of_sums + p * packed_rows;
        const auto multiply = [&](const Bf16* x, int64_t x_row, int64_t first, int64_t count) {
          unit.multiply({.a = x + k,
                         .a_row = x_row,
                         .b = panel_at(b.panel + p, k),
                         .b_row = 2 * packed_rows,
                         .c = at + first * row_of_sums,
                         .c_row = row_of_sums,
                         .rows = count,
                         .cols = packed_rows,
                         .depth = depth,
                         .accumulate = k > 0,
                         .ahead = ahead ? reinterpret_cast<const std::byte*>(ahead) +
                                              i / strip_rows * 2 * (depth / product_depth) * step
                                        : nullptr,
                         .ahead_step = step});
        };
        const int64_t whole = rows / product_rows * product_rows;
        if (whole > 0)
          multiply(static_cast<const Bf16*>(g.x) + row * g.x_stride, g.x_stride, 0, whole);
        if (whole < rows) multiply(last_rows, g.k, whole, rows - whole);
        if (k + part >= g.k) HWY_DYNAMIC_DISPATCH(finish)
        (g, row, rows, (b.panel + p) * packed_rows, at, row_of_sums);
      }
    }
  }
}

}  // namespace

int64_t unit_workspace_bytes(const Gemm& op, int threads) {
  return last_rows_bytes(op.m, op.k) + threads * sums_floats(op.m, op.k) * 4;
}

void run_on_unit(const GemmArgs& g, const Bf16Unit& unit, int threads, std::byte* scratch) {
  auto* last_rows = reinterpret_cast<Bf16*>(scratch);
  auto* sums = reinterpret_cast<float*>(scratch + last_rows_bytes(g.m, g.k));
  if (const int64_t left = g.m % product_rows; left > 0) {
    for (int64_t i = 0; i < left; ++i)
      std::copy_n(static_cast<const Bf16*>(g.x) + (g.m - left + i) * g.x_stride, g.k,
                  last_rows + i * g.k);
    std::fill(last_rows + left * g.k, last_rows + product_rows * g.k, Bf16());
  }
  const int64_t panels = g.n / packed_rows, blocks = divide_up(g.m, block_rows);
  const int64_t most = depth_of_part(g.k) == g.k ? panels : group_panels;
  parallel_ranges(threads, blocks * panels, 1, [&](int64_t begin, int64_t end, int thread) {
    unit.begin();
    for (int64_t item = begin; item < end;) {
      const int64_t row = item / panels * block_rows, panel = item % panels;
      const int64_t count = std::min({most, panels - panel, end - item});
      const int64_t after = (panel + count) % panels;
      run_block(g, unit, {row, std::min(block_rows, g.m - row), panel, count}, last_rows,
                sums + thread * sums_floats(g.m, g.k),
                item + count < end ? static_cast<const Bf16*>(g.weight) + after * g.k * packed_rows
                                   : nullptr);
      item += count;
    }
    unit.end();
  });
}

}  // namespace tidemark::cpu
#endif
