// Products of a few rows with 8-bit weights, at the speed of memory. Threads share the rows of the
// weight; they are read one after the other while x fits the first-level cache, else some abreast.
// Activations of 16 bits: integers become fp32, sums are fp32. Activations of 8 bits: x is rounded
// to integers first, kept as 16 bits; products of 16 bits add up in pairs to 32 (vpmaddwd, smlal).
// Limit: bytes of the weight.
#include <hwy/cache_control.h>

#include <algorithm>

#include "backend/cpu/gemm.h"
#include "backend/cpu/int8.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/int8_skinny.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/int8-inl.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/prefetch.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

using ShortTag = hn::ScalableTag<int16_t>;
using SumTag = hn::ScalableTag<int32_t>;
constexpr int64_t short_lanes = static_cast<int64_t>(hn::MaxLanes(ShortTag()));

// Columns that are taken at a time; of activations of 16 bits a group, which has one scale.
constexpr int64_t block = 32;
constexpr int64_t line = 64;  // of the cache

HWY_INLINE Vec broadcast(const Bf16* from) {
  return hn::BitCast(floats, hn::Set(WordTag(), uint32_t{from->bits} << 16));
}

// Sums of products with activations of 16 bits, as fp32.
struct Wide {
  using X = float;
  using Total = Vec;
  static HWY_INLINE Total zero() { return hn::Zero(floats); }
  static HWY_INLINE Total plus(Total a, Total b) { return hn::Add(a, b); }
  static HWY_INLINE Vec floating(Total total) { return total; }

  // `block` columns of a row of the weight and m rows of x.
  template <int m>
  static HWY_INLINE void add(Total (&total)[m], const int8_t* weight, const Bf16* scale,
                             const float* x, int64_t x_stride) {
    const Vec factor = broadcast(scale);
    // One product with the scale for the block's sum, or one for each vector of weights.
    if constexpr (m == 1) {
      Vec sum = hn::Mul(load_int8(weight), load(x));
#pragma GCC unroll 4
      for (int64_t k = lanes; k < block; k += lanes)
        sum = hn::MulAdd(load_int8(weight + k), load(x + k), sum);
      total[0] = hn::MulAdd(sum, factor, total[0]);
    } else {
#pragma GCC unroll 4
      for (int64_t k = 0; k < block; k += lanes) {
        const Vec w = hn::Mul(load_int8(weight + k), factor);
#pragma GCC unroll 8
        for (int i = 0; i < m; ++i) total[i] = hn::MulAdd(w, load(x + i * x_stride + k), total[i]);
      }
    }
  }
  static HWY_INLINE float finished(const Int8Product&, const float*, int64_t, int64_t, float sum) {
    return sum;
  }
};

// The same of 8 bits, as i16. The second total takes the other half of the pairs on Arm.
struct Narrow {
  using X = int16_t;
  // Its constructors are written out: those the compiler adds are not for this instruction set.
  struct Total {
    using Sum = hn::Vec<SumTag>;
    Sum first, second;
    HWY_INLINE Total() {}
    HWY_INLINE Total(Sum first, Sum second) : first(first), second(second) {}
  };
  static HWY_INLINE Total zero() { return {hn::Zero(SumTag()), hn::Zero(SumTag())}; }
  static HWY_INLINE Total plus(Total a, Total b) {
    return {hn::Add(a.first, b.first), hn::Add(a.second, b.second)};
  }
  static HWY_INLINE Vec floating(Total total) {
    return hn::ConvertTo(floats, hn::Add(total.first, total.second));
  }

  template <int m>
  static HWY_INLINE void add(Total (&total)[m], const int8_t* weight, const Bf16*, const int16_t* x,
                             int64_t x_stride) {
    const hn::Rebind<int8_t, ShortTag> bytes;
#pragma GCC unroll 4
    for (int64_t k = 0; k < block; k += short_lanes) {
      const auto w = hn::PromoteTo(ShortTag(), hn::LoadU(bytes, weight + k));
#pragma GCC unroll 8
      for (int i = 0; i < m; ++i)
        total[i].first =
            hn::ReorderWidenMulAccumulate(SumTag(), w, hn::LoadU(ShortTag(), x + i * x_stride + k),
                                          total[i].first, total[i].second);
    }
  }
  static HWY_INLINE float finished(const Int8Product& p, const float* row_scales, int64_t i,
                                   int64_t j, float sum) {
    return sum * static_cast<float>(p.scales[j * p.scales_stride]) * row_scales[i];
  }
};

template <class Out>
void write(const Int8Product& p, Out* out, int64_t j, float value) {
  if (p.has_bias) value += static_cast<float>(p.bias[j]);
  value *= p.scale;
  if (p.accumulate) value += static_cast<float>(*out);
  *out = static_cast<Out>(value);
}

void write(const Int8Product& p, int64_t i, int64_t j, float value) {
  const int64_t at = i * p.out_stride + j;
  p.out_f32 ? write(p, static_cast<float*>(p.out) + at, j, value)
            : write(p, static_cast<Bf16*>(p.out) + at, j, value);
}

// What is left of a row behind whole blocks, filled up with zeros.
template <class Dot, int m>
HWY_INLINE void add_rest(const Int8Product& p, typename Dot::Total (&total)[m],
                         const int8_t* weight, const Bf16* scales, const typename Dot::X* x,
                         int64_t x_stride) {
  const int64_t whole = p.k / block * block;
  if (whole == p.k) return;
  int8_t rest[block] = {};
  std::memcpy(rest, weight + whole, static_cast<size_t>(p.k - whole));
  Dot::add(total, rest, scales + (p.group == block ? whole / block : 0), x + whole, x_stride);
}

// A row of the weight from end to end: memory is read in one stream, which the processor follows
// best, and x comes from the first-level cache every time.
template <class Dot, int m>
HWY_INLINE void one_row(const Int8Product& p, typename Dot::Total (&total)[m], const int8_t* weight,
                        const Bf16* scales, const typename Dot::X* x, int64_t x_stride) {
  constexpr int parts = m == 1 ? 4 : m == 2 ? 2 : 1;  // sums that do not wait for each other
  typename Dot::Total part[parts][m];
#pragma GCC unroll 4
  for (int s = 0; s < parts; ++s)
#pragma GCC unroll 8
    for (int i = 0; i < m; ++i) part[s][i] = Dot::zero();
  const Bf16* scale = scales;
  const int64_t next = p.group == block ? 1 : 0, whole = p.k / block * block;
  int64_t k = 0;
  for (; k + parts * block <= whole; k += parts * block)
#pragma GCC unroll 4
    for (int s = 0; s < parts; ++s, scale += next) {
      if (s % 2 == 0) prefetch_ahead(weight + k + s * block);  // two blocks a line
      Dot::add(part[s], weight + k + s * block, scale, x + k + s * block, x_stride);
    }
  for (; k < whole; k += block, scale += next)
    Dot::add(part[0], weight + k, scale, x + k, x_stride);
  add_rest<Dot>(p, part[0], weight, scales, x, x_stride);
#pragma GCC unroll 8
  for (int i = 0; i < m; ++i) {
    total[i] = part[0][i];
#pragma GCC unroll 4
    for (int s = 1; s < parts; ++s) total[i] = Dot::plus(total[i], part[s][i]);
  }
}

// Several rows side by side, so that each vector of a long x is loaded once for all of them.
template <class Dot, int m, int rows>
HWY_INLINE void rows_abreast(const Int8Product& p, typename Dot::Total (&total)[rows][m],
                             const int8_t* weight, const Bf16* scales, const typename Dot::X* x,
                             int64_t x_stride) {
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < m; ++i) total[r][i] = Dot::zero();
  const int64_t next = p.group == block ? 1 : 0, whole = p.k / block * block;
  for (int64_t k = 0; k < whole; k += block) {
    // The rows that come next: the processor has not seen yet where those lead.
    if (k % line == 0)
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) hwy::Prefetch(weight + (rows + r) * p.weight_stride + k);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r)
      Dot::add(total[r], weight + r * p.weight_stride + k,
               scales + r * p.scales_stride + k / block * next, x + k, x_stride);
  }
  for (int r = 0; r < rows; ++r)
    add_rest<Dot>(p, total[r], weight + r * p.weight_stride, scales + r * p.scales_stride, x,
                  x_stride);
}

// Rows [j, j + rows) of the weight times m rows of x.
template <class Dot, int m, int rows, bool abreast>
HWY_INLINE void weight_rows(const Int8Product& p, const typename Dot::X* x, const float* row_scales,
                            int64_t j) {
  const int64_t x_stride = round_up(p.k, int8_x_padding);
  const int8_t* weight = p.weight + j * p.weight_stride;
  const Bf16* scales = p.scales + j * p.scales_stride;
  typename Dot::Total total[rows][m];
  if constexpr (abreast) {
    rows_abreast<Dot>(p, total, weight, scales, x, x_stride);
  } else {
    for (int r = 0; r < rows; ++r)
      one_row<Dot>(p, total[r], weight + r * p.weight_stride, scales + r * p.scales_stride, x,
                   x_stride);
  }
  for (int i = 0; i < m; ++i) {
    float sums[rows];
    if constexpr (rows % 4 == 0) {
      for (int r = 0; r < rows; r += 4)
        store_sums(Dot::floating(total[r][i]), Dot::floating(total[r + 1][i]),
                   Dot::floating(total[r + 2][i]), Dot::floating(total[r + 3][i]), sums + r);
    } else {
      for (int r = 0; r < rows; ++r) sums[r] = sum(Dot::floating(total[r][i]));
    }
    for (int r = 0; r < rows; ++r)
      write(p, i, j + r, Dot::finished(p, row_scales, i, j + r, sums[r]));
  }
}

template <class Dot, int m>
void some_rows(const Int8Product& p, const typename Dot::X* x, const float* row_scales,
               int64_t begin, int64_t end) {
  constexpr int64_t half_the_cache = 16384;  // of the first level, in bytes
  const bool long_x = m * p.k * static_cast<int64_t>(sizeof(typename Dot::X)) > half_the_cache;
  constexpr int wide = m == 1 ? 8 : m <= 4 ? 4 : 2;
  int64_t j = begin;
  if (long_x)
    for (; j + wide <= end; j += wide) weight_rows<Dot, m, wide, true>(p, x, row_scales, j);
  for (; j + 4 <= end; j += 4) weight_rows<Dot, m, 4, false>(p, x, row_scales, j);
  for (; j < end; ++j) weight_rows<Dot, m, 1, false>(p, x, row_scales, j);
}

template <class Dot>
void by_count(const Int8Product& p, const typename Dot::X* x, const float* row_scales,
              int64_t begin, int64_t end) {
  with_row_count(p.m, [&](auto rows) { some_rows<Dot, rows.value>(p, x, row_scales, begin, end); });
}

void unpack_rows(const Int8Product& p, float* to, int64_t stride) {
  for (int64_t i = 0; i < p.m; ++i) {
    unpack_row(p.x + i * p.x_stride, p.k, to + i * stride);
    for (int64_t k = round_up(p.k, lanes); k < stride; k += lanes)
      store(hn::Zero(floats), to + i * stride + k);
  }
}

void skinny_w8a16(const Int8Product& p, const float* x, int64_t begin, int64_t end) {
  by_count<Wide>(p, x, nullptr, begin, end);
}

void skinny_w8a8(const Int8Product& p, const int16_t* x, const float* row_scales, int64_t begin,
                 int64_t end) {
  by_count<Narrow>(p, x, row_scales, begin, end);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {

HWY_EXPORT(unpack_rows);
HWY_EXPORT(skinny_w8a16);
HWY_EXPORT(skinny_w8a8);

namespace {

constexpr int64_t scales_bytes = skinny_rows * 4 + 32;  // a whole cache line

}  // namespace

int64_t int8_skinny_workspace_bytes(const Int8Product& p) {
  return scales_bytes + p.m * round_up(p.k, int8_x_padding) * (p.int8_x ? 2 : 4);
}

RoundedX round_few_rows(const Int8Product& p, std::byte* scratch) {
  const RoundedX rounded = {reinterpret_cast<float*>(scratch),
                            reinterpret_cast<int16_t*>(scratch + scales_bytes),
                            round_up(p.k, int8_x_padding)};
  round_x(p, 1, rounded.x, rounded.stride, rounded.row_scales);
  return rounded;
}

void run_int8_skinny(const Int8Product& p, int threads, std::byte* scratch) {
  auto* float_x = reinterpret_cast<float*>(scratch + scales_bytes);
  RoundedX rounded{};
  if (p.int8_x)
    rounded = round_few_rows(p, scratch);
  else
    HWY_DYNAMIC_DISPATCH(unpack_rows)(p, float_x, round_up(p.k, int8_x_padding));
  // Shares of whole groups of 8 rows; a few thousand weights are not worth waking a team.
  const int64_t groups = divide_up(p.n, 8), grain = 1 + 4096 / p.k;
  parallel_ranges(threads, groups, grain, [&](int64_t begin, int64_t end, int) {
    if (p.int8_x) HWY_DYNAMIC_DISPATCH(skinny_w8a8)
    (p, rounded.x, rounded.row_scales, 8 * begin, std::min(8 * end, p.n));
    else HWY_DYNAMIC_DISPATCH(skinny_w8a16)(p, float_x, 8 * begin, std::min(8 * end, p.n));
  });
}

}  // namespace tidemark::cpu
#endif
