// Products of many rows on a unit for bf16 (bf16_product.h), with a weight that is packed
// (packed_weight.h), or on its sister for 8-bit integers, with both sides in 8 bits; or with rows
// of 8 bits and activations of 16, when a panel is scaled to bf16 where it is needed. A thread
// takes panels of 64 outputs for up to 256 rows of x, so that both stay in the L2 cache, where the
// next panel arrives meanwhile; for 512 where their depth lets them stay, or where a panel must be
// made first. A long depth is cut, or x would not stay: then the sums of 16 panels wait in memory
// between the parts. x is laid out in tiles where a tile unit meets many outputs: then 32 of these
// stay in the L1 cache while x passes; and where its rows would share the sets of a cache, or fill
// no tiles. Else 32 rows of x stay where they lie. Limit: on AMX the L2 cache, which tiles come
// from: 2 KiB for 32 KFLOP; on vdpbf16ps its multiply-adds (docs/kernels.md).
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

// The rows of the weight behind the first `in_place`: up to one group, which is padded with zeros
// to a depth of whole tiles, and those that fill none.
void lay_out_last_panel(const GemmArgs& g, int64_t in_place, Bf16* to) {
  const int64_t grouped = rows_in_groups(g.n), padded = round_up(g.k, packed_depth);
  const Bf16* weight = static_cast<const Bf16*>(g.weight);
  if (in_place < grouped) {
    Bf16* end = std::copy_n(weight + in_place * g.k, packed_rows * g.k, to);
    to += packed_rows * padded;
    std::fill(end, to, Bf16());
  }
  weight += grouped * g.k;
  if (grouped < g.n)
    pair_columns([&](int64_t i) { return weight + i * g.k; }, g.n - grouped, g.k,
                 reinterpret_cast<uint32_t*>(to), product_cols, product_cols);
}

// `depth` columns from k of `rows` rows from `first` of a weight in 8 bits, scaled to bf16 and laid
// out in groups of 16 rows, the last of them zeros.
void lay_out_scaled(const Int8Product& p, int64_t first, int64_t rows, int64_t k, int64_t depth,
                    Bf16* to) {
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
  for (int64_t i = 0; i < round_up(rows, packed_rows); i += 4) {
    auto* group = reinterpret_cast<uint32_t*>(to + i / packed_rows * packed_rows * depth);
    for (int64_t col = 0; col < depth; col += wide)
      turn_four(words(i, k + col), words(i + 1, k + col), words(i + 2, k + col),
                words(i + 3, k + col), group + col / 2 * packed_rows + i % packed_rows,
                packed_rows);
  }
}

// Gated outputs [col, col + cols): sums have 16 that are activated, then 16 to multiply by, and so
// on. Both are rounded as a product of its own would store them.
struct GatedRows {
  const GemmArgs& g;
  int64_t row, rows, col, cols;
  const float* sums;
  int64_t sums_row;

  template <Act act>
  void run() const {
    const Bf16* bias = static_cast<const Bf16*>(g.bias);
    const bool stream = g.streams && in_whole_lines(static_cast<Bf16*>(g.out), g.out_stride, col);
    const Vec scale = all(g.scale);
    for (int64_t i = 0; i < rows; ++i) {
      Bf16* out = static_cast<Bf16*>(g.out) + (row + i) * g.out_stride + col;
      const auto rounded = [&](const float* sum, int64_t output) {
        Vec value = load(sum);
        if (bias) value = hn::Add(value, load(bias + output));
        const auto bits = rounded_bits(hn::Mul(value, scale));
        return hn::BitCast(floats, hn::And(bits, hn::Set(WordTag(), 0xffff0000u)));
      };
      const auto finished = [&](int64_t j) {
        const float* sum =
            sums + i * sums_row + j / packed_rows * 2 * packed_rows + j % packed_rows;
        const Vec gate = rounded(sum, col + j);
        const Vec up = rounded(sum + packed_rows, g.n / 2 + col + j);
        return hn::Mul(activate<act, Bf16>(gate), up);
      };
      store_values(finished, out, cols, stream);
    }
  }
};

void finish_gated(const GemmArgs& g, int64_t row, int64_t rows, int64_t col, int64_t cols,
                  const float* sums, int64_t sums_row) {
  with_activation(*g.gated, GatedRows{g, row, rows, col, cols, sums, sums_row});
}

void finish_block(const GemmArgs& g, int64_t row, int64_t rows, int64_t col, int64_t cols,
                  const float* sums, int64_t sums_row) {
  g.out_f32 ? finish_rows<Bf16, float>(g, row, rows, col, cols, sums, sums_row)
            : finish_rows<Bf16, Bf16>(g, row, rows, col, cols, sums, sums_row);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <hwy/cache_control.h>

namespace tidemark::cpu {

HWY_EXPORT(finish_block);
HWY_EXPORT(finish_gated);
HWY_EXPORT(lay_out_last_panel);
HWY_EXPORT(lay_out_scaled);

namespace {

constexpr int64_t most_depth = 2048, part_depth = 1024;
constexpr int64_t panel_rows = 64, most_panels = 16;  // outputs; panels whose sums wait

// How the depth is cut, in whole tiles.
bool is_cut(int64_t k) {
  return k > most_depth;
}
int64_t depth_of_part(int64_t k) {
  return round_up(is_cut(k) ? divide_up(k, divide_up(k, part_depth)) : k, packed_depth);
}

// What a product's memory depends on.
struct Shape {
  int64_t m, n, k, x_stride;
  bool scaled;  // a weight in 8 bits that becomes bf16 panel by panel
  bool tiles;   // the unit has them
};

// Rows of x that a panel meets at a time. More of them ask less of the memory that weights come
// from, while half of an L2 cache of 2 MiB has them and the panels are enough for all threads.
int64_t rows_of_block(const Shape& s, int64_t threads) {
  const bool stay = 512 * s.k * size_bytes(DType::bf16) <= int64_t{1} << 20;
  const bool more = s.scaled ? !is_cut(s.k) : stay && s.n >= 8 * threads * panel_rows;
  return std::min<int64_t>(round_up(s.m, product_rows), more ? 512 : 256);
}

// Whether x is laid out anew: a tile unit meets many outputs, or its rows fill no tiles, or lie so
// far apart that few sets of a cache have all of them.
bool lays_out_x(const Shape& s) {
  const int64_t apart = s.x_stride * size_bytes(DType::bf16);
  if (s.k % packed_depth != 0 || (is_cut(s.k) && apart % 4096 == 0)) return true;
  return s.tiles && (s.n >= 2048 || (s.n >= 1024 && apart % 2048 == 0));
}

// What x is laid out as (bf16_product.h): tiles, each in one piece; else rows a line further apart
// than they are long, which spreads them over the sets of the caches.
struct XLayout {
  int64_t row, step, block;
};
XLayout x_layout(const Shape& s) {
  const int64_t depth = round_up(s.k, packed_depth);
  if (s.tiles) return {product_depth, product_rows * product_depth, product_rows * depth};
  return {depth + packed_depth, product_depth, product_rows * (depth + packed_depth)};
}

// Rows of a packed weight that are multiplied where they lie: not those that fill no group, nor the
// last group, if k fills no tiles, because the last tile reaches into what follows (which meets
// zeros of x).
int64_t rows_in_place(int64_t n, int64_t k) {
  const int64_t grouped = rows_in_groups(n);
  return k % packed_depth == 0 ? grouped : std::max<int64_t>(0, grouped - packed_rows);
}

// Rows of x that are laid out anew at once: whole blocks, so many that all threads have work.
int64_t rows_at_once(const Shape& s, int64_t threads) {
  const int64_t block = rows_of_block(s, threads), panels = divide_up(s.n, panel_rows);
  return block * std::clamp<int64_t>(divide_up(4 * threads, panels), 1, divide_up(s.m, block));
}

// Scratch: x of some blocks of rows laid out anew, or its last rows where they fill no tile, with
// zeros below; the last rows of a packed weight where they do not lie as wanted; what each thread
// has.
int64_t x_bytes(const Shape& s, int64_t threads) {
  if (lays_out_x(s))
    return rows_at_once(s, threads) / product_rows * x_layout(s).block * size_bytes(DType::bf16);
  return s.m % product_rows == 0 ? 0 : product_rows * s.k * size_bytes(DType::bf16);
}
int64_t last_panel_bytes(const Shape& s) {
  return s.scaled ? 0
                  : round_up(s.n - rows_in_place(s.n, s.k), packed_rows) *
                        round_up(s.k, packed_depth) * size_bytes(DType::bf16);
}
// By thread: a panel of a weight in 8 bits; the sums of a panel, or of several where the depth is
// cut.
int64_t scaled_panel(int64_t k, bool scaled) {
  return scaled ? panel_rows * depth_of_part(k) : 0;
}
int64_t thread_bytes(const Shape& s, int threads) {
  const int64_t rows = rows_of_block(s, threads), panels = is_cut(s.k) ? most_panels : 1;
  return scaled_panel(s.k, s.scaled) * size_bytes(DType::bf16) +
         panels * rows * panel_rows * size_bytes(DType::f32);
}
int64_t scratch_bytes(const Shape& s, int threads) {
  return x_bytes(s, threads) + last_panel_bytes(s) + threads * thread_bytes(s, threads);
}

int64_t row_scales_bytes(int64_t m) {
  return round_up(m * size_bytes(DType::f32), 64);
}

// Whether a result goes past the caches: one that the next operator will not find in an L2 cache.
bool streams(const GemmArgs& g) {
  constexpr int64_t most_cached = int64_t{1} << 20;
  return !g.accumulate &&
         g.m * (g.gated ? g.n / 2 : g.n) * size_bytes(g.out_f32 ? DType::f32 : DType::bf16) >
             most_cached;
}

struct Work {
  GemmArgs g;
  const Bf16Unit& unit;
  const Int8Product* scaled;   // a weight in 8 bits that is scaled to bf16; null: packed
  const Int8Product* rounded;  // or null: weight and x of 8 bits, in g as pairs in bf16's place
  const float* row_scales = nullptr;  // of rounded x
  Bf16* x = nullptr;                  // laid out anew, from row first_row on
  int64_t first_row = 0;
  Bf16* last_x = nullptr;  // or the rows that fill no tile
  const Bf16* last_panel = nullptr;

  Shape shape() const { return {g.m, g.n, g.k, g.x_stride, scaled != nullptr, !unit.dots}; }
};

struct Panel {
  int64_t col, cols;         // products; of gated outputs two each
  const Bf16* at;            // groups of 16; null: has 8 bits
  int64_t group;             // elements from one to the next
  int64_t pair = 2 * group;  // and to the one behind that
};

int64_t panel_count(const Work& w) {
  if (w.scaled) return divide_up(w.g.n, panel_rows);
  return divide_up(rows_in_place(w.g.n, w.g.k), panel_rows) + (w.last_panel ? 1 : 0);
}

Panel find_panel(const Work& w, int64_t panel) {
  const GemmArgs& g = w.g;
  const int64_t in_place = rows_in_place(g.n, g.k), col = panel * panel_rows;
  if (w.scaled) return {col, std::min(panel_rows, g.n - col), nullptr, 0};
  if (g.gated) {
    const Bf16* at = static_cast<const Bf16*>(g.weight) + col / 2 * g.k;
    return {col, std::min(panel_rows, g.n - col), at, g.n / 2 * g.k, packed_rows * g.k};
  }
  if (w.last_panel && panel == panel_count(w) - 1)
    return {in_place, g.n - in_place, w.last_panel, packed_rows * round_up(g.k, packed_depth)};
  return {col, std::min(panel_rows, in_place - col), static_cast<const Bf16*>(g.weight) + col * g.k,
          packed_rows * g.k};
}

// Panels [begin, end) for rows [row, row + rows) of x; where the depth is cut at most most_panels.
void run_block(const Work& w, int64_t row, int64_t rows, int64_t begin, int64_t end,
               std::byte* scratch) {
  const GemmArgs& g = w.g;
  const int64_t part = depth_of_part(g.k);
  const XLayout layout =
      w.x ? x_layout(w.shape()) : XLayout{g.x_stride, product_depth, product_rows * g.x_stride};
  const Bf16* x = w.x ? w.x + (row - w.first_row) / product_rows * layout.block
                      : static_cast<const Bf16*>(g.x) + row * g.x_stride;
  const int64_t padded = round_up(rows, product_rows);
  auto* scaled = reinterpret_cast<Bf16*>(scratch);
  auto* sums = reinterpret_cast<float*>(scaled + scaled_panel(g.k, w.scaled));
  for (int64_t k = 0; k < g.k; k += part) {
    const int64_t depth = round_up(std::min(part, g.k - k), packed_depth);
    for (int64_t p = begin; p < end; ++p) {
      const Panel panel = find_panel(w, p);
      if (w.scaled)
        HWY_DYNAMIC_DISPATCH(lay_out_scaled)(*w.scaled, panel.col, panel.cols, k, depth, scaled);
      // What is multiplied next, here or, behind the last panel, by whoever comes to it.
      const bool on = p + 1 < (is_cut(g.k) ? end : panel_count(w));
      const int64_t next_k = on ? k : k + part;
      const Panel next = find_panel(w, on ? p + 1 : begin);
      const bool fetch = next.at && next_k < g.k;
      float* at = is_cut(g.k) ? sums + (p - begin) * padded * panel_rows : sums;
      Bf16Product product{.a = x + k / product_depth * layout.step,
                          .a_row = layout.row,
                          .a_step = layout.step,
                          .a_block = layout.block,
                          .b = panel.at ? panel.at + k * packed_rows : scaled,
                          .b_row = 2 * packed_rows,
                          .b_group = panel.at ? panel.group : packed_rows * depth,
                          .b_pair = panel.at ? panel.pair : 2 * packed_rows * depth,
                          .c = at,
                          .c_row = panel_rows,
                          .rows = w.x ? padded : rows / product_rows * product_rows,
                          .cols = round_up(panel.cols, product_cols),
                          .depth = depth,
                          .accumulate = k > 0,
                          .stays = w.x ? Bf16Product::Stays::right : Bf16Product::Stays::left,
                          .ahead = fetch ? next.at + next_k * packed_rows : nullptr};
      const auto multiply = w.rounded ? w.unit.multiply_int8 : w.unit.multiply;
      if (product.rows > 0) multiply(product);
      if (product.rows < rows) {
        product.a = w.last_x + k, product.a_row = g.k, product.a_block = product_rows * g.k;
        product.ahead = nullptr, product.c += product.rows * panel_rows,
        product.rows = product_rows;
        multiply(product);
      }
      if (k + part < g.k) continue;
      if (g.gated) HWY_DYNAMIC_DISPATCH(finish_gated)
      (g, row, rows, panel.col / 2, panel.cols / 2, at, panel_rows);
      else if (w.rounded)
          finish(*w.rounded,
                 {at, true, panel_rows, panel.col, panel.cols, w.row_scales, row, g.streams}, rows);
      else HWY_DYNAMIC_DISPATCH(finish_block)(g, row, rows, panel.col, panel.cols, at, panel_rows);
    }
  }
}

// 16 rows of a block of x from `row`, laid out in `to`.
void lay_out_x(const GemmArgs& g, int64_t row, const XLayout& layout, Bf16* to) {
  for (int64_t i = 0; i < product_rows; ++i) {
    const Bf16* x = static_cast<const Bf16*>(g.x) + (row + i) * g.x_stride;
    const int64_t count = row + i < g.m ? g.k : 0;
    for (int64_t k = 0; k < g.k; k += product_depth) {
      const int64_t left = std::clamp<int64_t>(count - k, 0, product_depth);
      Bf16* piece = to + i * layout.row + k / product_depth * layout.step;
      std::fill(std::copy_n(x + k, left, piece), piece + product_depth, Bf16());
    }
  }
}

// Rows [row, end) of x, which whole blocks of rows are but for the last.
void run_rows(const Work& work, int64_t row, int64_t end, int threads, std::byte* scratch) {
  const GemmArgs& g = work.g;
  const Shape shape = work.shape();
  if (work.x) {
    const XLayout layout = x_layout(shape);
    parallel_ranges(threads, divide_up(end - row, product_rows), 1,
                    [&](int64_t first, int64_t last, int) {
                      for (int64_t i = first; i < last; ++i)
                        lay_out_x(g, row + i * product_rows, layout, work.x + i * layout.block);
                    });
  }
  const int64_t block = rows_of_block(shape, threads), bytes = thread_bytes(shape, threads);
  const int64_t panels = panel_count(work), blocks = divide_up(end - row, block);
  const int64_t most = is_cut(g.k) ? most_panels : panels;
  // Every part of a product with a cut depth reads all of its x anew: few of them.
  const int64_t grain = is_cut(g.k) ? std::min(panels, divide_up(blocks * panels, 2 * threads)) : 1;
  parallel_parts(threads, blocks * panels, grain, [&](int64_t first, int64_t last, int thread) {
    work.unit.begin();
    for (int64_t item = first; item < last;) {
      const int64_t at = row + item / panels * block, panel = item % panels;
      const int64_t count = std::min({most, panels - panel, last - item});
      run_block(work, at, std::min(block, end - at), panel, panel + count,
                scratch + thread * bytes);
      item += count;
    }
    work.unit.end();
    if (g.streams) hwy::FlushStream();
  });
}

void run_work(Work work, int threads, std::byte* scratch) {
  work.g.streams = streams(work.g);
  const GemmArgs& g = work.g;
  const Shape shape = work.shape();
  auto* x = reinterpret_cast<Bf16*>(scratch);
  scratch += x_bytes(shape, threads);
  if (const int64_t bytes = last_panel_bytes(shape); bytes > 0) {
    auto* last = reinterpret_cast<Bf16*>(scratch);
    HWY_DYNAMIC_DISPATCH(lay_out_last_panel)(g, rows_in_place(g.n, g.k), last);
    work.last_panel = last;
    scratch += bytes;
  }
  if (!lays_out_x(shape)) {
    if (const int64_t whole = g.m / product_rows * product_rows; whole < g.m) {
      lay_out_x(g, whole, {g.k, product_depth, product_rows * g.k}, x);
      work.last_x = x;
    }
    return run_rows(work, 0, g.m, threads, scratch);
  }
  work.x = x;
  const int64_t rows = rows_at_once(shape, threads);
  for (; work.first_row < g.m; work.first_row += rows)
    run_rows(work, work.first_row, std::min(work.first_row + rows, g.m), threads, scratch);
}

}  // namespace

int64_t unit_workspace_bytes(const Gemm& op, const Bf16Unit& unit, int threads) {
  return scratch_bytes({op.m, op.n, op.k, op.x.stride, false, !unit.dots}, threads);
}

bool takes_glu(int64_t n, int64_t k) {
  return n % (2 * packed_rows) == 0 && rows_in_place(n, k) == n;
}

int64_t unit_workspace_bytes(const Int8Product& p, const Bf16Unit& unit, int threads) {
  if (!p.int8_x) return scratch_bytes({p.m, p.n, p.k, p.x_stride, true, !unit.dots}, threads);
  const int64_t pairs = p.k / 2;
  return row_scales_bytes(p.m) + p.m * p.k +
         scratch_bytes({p.m, p.n, pairs, pairs, false, !unit.dots}, threads);
}

void run_on_unit(const GemmArgs& g, const Bf16Unit& unit, int threads, std::byte* scratch) {
  run_work({.g = g, .unit = unit, .scaled = nullptr, .rounded = nullptr}, threads, scratch);
}

void run_on_unit(const Int8Product& p, const Bf16Unit& unit, int threads, std::byte* scratch) {
  GemmArgs g = {.x = p.x,
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
  if (!p.int8_x)
    return run_work({.g = g, .unit = unit, .scaled = &p, .rounded = nullptr}, threads, scratch);
  auto* row_scales = reinterpret_cast<float*>(scratch);
  auto* x = reinterpret_cast<int8_t*>(scratch + row_scales_bytes(p.m));
  round_x(p, threads, x, p.k, row_scales);
  g.x = x, g.weight = p.weight, g.k = g.x_stride = p.k / 2;
  run_work({.g = g, .unit = unit, .scaled = nullptr, .rounded = &p, .row_scales = row_scales},
           threads, reinterpret_cast<std::byte*>(x + p.m * p.k));
}

}  // namespace tidemark::cpu
#endif
