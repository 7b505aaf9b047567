// Products of many rows on a unit for bf16 (bf16_product.h), with a weight that is packed
// (packed_weight.h) or has 8 bits and activations of 16, when a panel is scaled to bf16 where it is
// needed. A thread takes panels of 64 outputs for up to 256 rows of x, so that both stay in the L2
// cache, where the next panel arrives meanwhile; for 512 where a panel must be made first. A long
// depth is cut, or x would not stay: then its part is copied, and the sums of 16 panels wait in
// memory between the parts. Limit: on AMX the L2 cache, which every tile but the sums comes from:
// 2 KiB for 32 KFLOP; on vdpbf16ps its multiply-adds (docs/kernels.md).
#include <algorithm>

#include "backend/cpu/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/gemm_unit.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/bf16-inl.h"
#include "backend/cpu/bf16_product.h"
#include "backend/cpu/gemm-inl.h"
#include "backend/cpu/int8-inl.h"
#include "backend/cpu/packed_weight.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/prefetch.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

// The last rows of x, that fill no tile.
void lay_out_last_x(const GemmArgs& g, Bf16* to) {
  const int64_t left = g.m % product_rows;
  const Bf16* x = static_cast<const Bf16*>(g.x) + (g.m - left) * g.x_stride;
  copy_rows([&](int64_t i) { return x + i * g.x_stride; }, left, g.k, to);
  std::fill(to + left * g.k, to + product_rows * g.k, Bf16());
}

// The last rows of the weight, that fill no panel.
void lay_out_last_panel(const GemmArgs& g, Bf16* to) {
  const int64_t paneled = rows_in_panels(g.n);
  const Bf16* rows = static_cast<const Bf16*>(g.weight) + paneled * g.k;
  pair_columns([&](int64_t i) { return rows + i * g.k; }, g.n - paneled, g.k,
               reinterpret_cast<uint32_t*>(to), product_cols, product_cols);
}

// `depth` columns from k of `rows` rows from `first` of a weight in 8 bits, scaled to bf16 and laid
// out as a panel of `stored` rows, the last of them zeros.
void lay_out_scaled(const Int8Product& p, int64_t first, int64_t rows, int64_t k, int64_t depth,
                    int64_t stored, Bf16* to) {
  constexpr int64_t wide = 2 * lanes;  // columns that become a vector of words
  const hn::Rebind<uint16_t, WordTag> pairs;
  const auto words = [&](int64_t i, int64_t col) {
    if (i >= rows) return hn::Zero(WordTag());
    const int8_t* weight = p.weight + (first + i) * p.weight_stride + col;
    const Bf16* scales = p.scales + (first + i) * p.scales_stride;
    prefetch_ahead(weight);
    const auto both = hn::BitCast(
        IntTag(),
        hn::PromoteTo(WordTag(), hn::LoadU(pairs, reinterpret_cast<const uint16_t*>(weight))));
    const Vec scale = all(static_cast<float>(scales[p.group < p.k ? col / p.group : 0]));
    const auto scaled = [&](auto integers) {
      return hn::Mul(hn::ConvertTo(floats, integers), scale);
    };
    return pair_words(scaled(hn::ShiftRight<24>(hn::ShiftLeft<24>(both))),
                      scaled(hn::ShiftRight<24>(hn::ShiftLeft<16>(both))));
  };
  for (int64_t i = 0; i < stored; i += 4)
    for (int64_t col = 0; col < depth; col += wide)
      turn_four(words(i, k + col), words(i + 1, k + col), words(i + 2, k + col),
                words(i + 3, k + col), reinterpret_cast<uint32_t*>(to) + col / 2 * stored + i,
                stored);
}

void finish(const GemmArgs& g, int64_t row, int64_t rows, int64_t col, int64_t cols,
            const float* sums, int64_t sums_row) {
  g.out_f32 ? finish_rows<Bf16, float>(g, row, rows, col, cols, sums, sums_row)
            : finish_rows<Bf16, Bf16>(g, row, rows, col, cols, sums, sums_row);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {

HWY_EXPORT(finish);
HWY_EXPORT(lay_out_last_panel);
HWY_EXPORT(lay_out_last_x);
HWY_EXPORT(lay_out_scaled);

namespace {

constexpr int64_t most_depth = 2048, part_depth = 1024;
constexpr int64_t group_panels = 16;

// How the depth is cut.
int64_t depth_of_part(int64_t k) {
  return k <= most_depth ? k : round_up(divide_up(k, divide_up(k, part_depth)), packed_depth);
}

// Rows of x that a panel meets at a time.
int64_t rows_of_block(int64_t m, int64_t k, bool scaled) {
  const int64_t most = scaled && depth_of_part(k) == k ? 512 : 256;
  return std::min(round_up(m, product_rows), most);
}

// Scratch: the last rows of x where they fill no tile, with zeros below; the last rows of a packed
// weight where they fill no panel, laid out as one; what each thread has.
int64_t last_x_bytes(int64_t m, int64_t k) {
  return m % product_rows == 0 ? 0 : product_rows * k * size_bytes(DType::bf16);
}
int64_t last_panel_bytes(int64_t n, int64_t k) {
  return n == rows_in_panels(n) ? 0 : product_cols * k * size_bytes(DType::bf16);
}
// By thread: a part of x, where the depth is cut, in rows that lie a line further apart than they
// are long, which spreads them over the sets of the caches; a panel of a weight in 8 bits; sums.
int64_t part_row(int64_t k) {
  return depth_of_part(k) == k ? 0 : depth_of_part(k) + packed_depth;
}
int64_t scaled_panel(int64_t k, bool scaled) {
  return scaled ? packed_rows * depth_of_part(k) : 0;
}
int64_t sums_row(int64_t k) {
  return depth_of_part(k) == k ? packed_rows : group_panels * packed_rows;
}
int64_t thread_bytes(int64_t m, int64_t k, bool scaled) {
  const int64_t rows = rows_of_block(m, k, scaled);
  return (rows * part_row(k) + scaled_panel(k, scaled)) * size_bytes(DType::bf16) +
         rows * sums_row(k) * size_bytes(DType::f32);
}

struct Work {
  const GemmArgs& g;
  const Bf16Unit& unit;
  const Int8Product* scaled;  // the weight in 8 bits; null: packed
  const Bf16* last_x = nullptr;
  const Bf16* last_panel = nullptr;
};

struct Panel {
  int64_t col, cols, stored;  // outputs from `col`; stored: a multiple of 16
  const Bf16* at;             // [k / 2][stored][2]; null: has 8 bits
};

int64_t panel_count(const Work& w) {
  if (w.scaled) return divide_up(w.g.n, packed_rows);
  return divide_up(rows_in_panels(w.g.n), packed_rows) + (w.last_panel ? 1 : 0);
}

Panel find_panel(const Work& w, int64_t panel) {
  const int64_t paneled = rows_in_panels(w.g.n), col = panel * packed_rows;
  if (w.scaled) {
    const int64_t cols = std::min(packed_rows, w.g.n - col);
    return {col, cols, round_up(cols, product_cols), nullptr};
  }
  if (w.last_panel && panel == panel_count(w) - 1)
    return {paneled, w.g.n - paneled, product_cols, w.last_panel};
  const int64_t cols = panel_rows(panel, w.g.n);
  return {col, cols, cols, static_cast<const Bf16*>(w.g.weight) + col * w.g.k};
}

// Panels [begin, end) for rows [row, row + rows) of x; where the depth is cut at most group_panels.
void run_block(const Work& w, int64_t row, int64_t rows, int64_t begin, int64_t end,
               std::byte* scratch) {
  const GemmArgs& g = w.g;
  const int64_t part = depth_of_part(g.k), row_of_sums = sums_row(g.k),
                whole = g.m / product_rows * product_rows;
  // Row i of x, of whole tiles of rows.
  const auto x_row = [&](int64_t i) {
    return i < whole ? static_cast<const Bf16*>(g.x) + i * g.x_stride
                     : w.last_x + (i - whole) * g.k;
  };
  const int64_t padded = round_up(rows, product_rows);
  auto* x_part = reinterpret_cast<Bf16*>(scratch);
  Bf16* scaled = x_part + padded * part_row(g.k);
  auto* sums = reinterpret_cast<float*>(scaled + scaled_panel(g.k, w.scaled));
  for (int64_t k = 0; k < g.k; k += part) {
    const int64_t depth = std::min(part, g.k - k);
    if (part < g.k)
      for (int64_t i = 0; i < padded; ++i)
        std::copy_n(x_row(row + i) + k, depth, x_part + i * part_row(g.k));
    for (int64_t p = begin; p < end; ++p) {
      const Panel panel = find_panel(w, p);
      if (w.scaled) {
        HWY_DYNAMIC_DISPATCH(lay_out_scaled)
        (*w.scaled, panel.col, panel.cols, k, depth, panel.stored, scaled);
      }
      const int64_t next_k = p + 1 < end ? k : k + part;  // of what is multiplied next
      const Panel next = find_panel(w, p + 1 < end ? p + 1 : begin);
      const bool fetch = next.at && next_k < g.k;
      float* at = part == g.k ? sums : sums + (p - begin) * packed_rows;
      Bf16Product product{.a = part < g.k ? x_part : x_row(row),
                          .a_row = part < g.k ? part_row(g.k) : g.x_stride,
                          .b = panel.at ? panel.at + k * panel.stored : scaled,
                          .b_row = 2 * panel.stored,
                          .c = at,
                          .c_row = row_of_sums,
                          .rows = part < g.k ? padded : rows / product_rows * product_rows,
                          .cols = panel.stored,
                          .depth = depth,
                          .accumulate = k > 0,
                          .ahead = fetch ? next.at + next_k * next.stored : nullptr};
      if (product.rows > 0) w.unit.multiply(product);
      if (product.rows < rows) {
        product.a = w.last_x, product.a_row = g.k, product.ahead = nullptr;
        product.c += product.rows * row_of_sums, product.rows = product_rows;
        w.unit.multiply(product);
      }
      if (k + part >= g.k)
        HWY_DYNAMIC_DISPATCH(finish)(g, row, rows, panel.col, panel.cols, at, row_of_sums);
    }
  }
}

void run_work(Work work, int threads, std::byte* scratch) {
  const GemmArgs& g = work.g;
  if (const int64_t bytes = last_x_bytes(g.m, g.k); bytes > 0) {
    auto* last = reinterpret_cast<Bf16*>(scratch);
    HWY_DYNAMIC_DISPATCH(lay_out_last_x)(g, last);
    work.last_x = last;
    scratch += bytes;
  }
  if (const int64_t bytes = last_panel_bytes(g.n, g.k); bytes > 0 && !work.scaled) {
    auto* last = reinterpret_cast<Bf16*>(scratch);
    HWY_DYNAMIC_DISPATCH(lay_out_last_panel)(g, last);
    work.last_panel = last;
    scratch += bytes;
  }
  const int64_t block = rows_of_block(g.m, g.k, work.scaled);
  const int64_t panels = panel_count(work), blocks = divide_up(g.m, block);
  const int64_t most = depth_of_part(g.k) == g.k ? panels : group_panels;
  parallel_ranges(threads, blocks * panels, 1, [&](int64_t begin, int64_t end, int thread) {
    work.unit.begin();
    for (int64_t item = begin; item < end;) {
      const int64_t row = item / panels * block, panel = item % panels;
      const int64_t count = std::min({most, panels - panel, end - item});
      run_block(work, row, std::min(block, g.m - row), panel, panel + count,
                scratch + thread * thread_bytes(g.m, g.k, work.scaled));
      item += count;
    }
    work.unit.end();
  });
}

}  // namespace

int64_t unit_workspace_bytes(const Gemm& op, int threads) {
  return last_x_bytes(op.m, op.k) + last_panel_bytes(op.n, op.k) +
         threads * thread_bytes(op.m, op.k, false);
}

int64_t unit_workspace_bytes(const Int8Product& p, int threads) {
  return last_x_bytes(p.m, p.k) + threads * thread_bytes(p.m, p.k, true);
}

void run_on_unit(const GemmArgs& g, const Bf16Unit& unit, int threads, std::byte* scratch) {
  run_work({.g = g, .unit = unit, .scaled = nullptr}, threads, scratch);
}

void run_on_unit(const Int8Product& p, const Bf16Unit& unit, int threads, std::byte* scratch) {
  const GemmArgs g = {.x = p.x,
                      .weight = nullptr,
                      .bias = p.has_bias ? p.bias : nullptr,
                      .out = p.out,
                      .m = p.m,
                      .n = p.n,
                      .k = p.k,
                      .x_stride = p.x_stride,
                      .weight_stride = 0,
                      .out_stride = p.out_stride,
                      .scale = p.scale,
                      .accumulate = p.accumulate,
                      .x_f32 = false,
                      .out_f32 = p.out_f32};
  run_work({.g = g, .unit = unit, .scaled = &p}, threads, scratch);
}

}  // namespace tidemark::cpu
#endif
