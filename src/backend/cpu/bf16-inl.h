// Matrices laid out for bf16_product.h. A word is a pair of bf16: the one with the even index low.
#if defined(TIDEMARK_BF16_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_BF16_INL_H
#undef TIDEMARK_BF16_INL_H
#else
#define TIDEMARK_BF16_INL_H
#endif

#include <algorithm>

#include "backend/cpu/bf16_product.h"
#include "backend/cpu/context.h"
#include "backend/cpu/prefetch.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {

using Words = hn::Vec<WordTag>;

HWY_INLINE Words load_words(const void* from) {
  return hn::LoadU(WordTag(), static_cast<const uint32_t*>(from));
}

HWY_INLINE void store_words(Words words, void* to) {
  hn::StoreU(words, WordTag(), static_cast<uint32_t*>(to));
}

// Two vectors rounded to bf16 (halves away from zero), lane by lane a word.
HWY_INLINE Words pair_words(Vec low, Vec high) {
  const Words half = hn::Set(WordTag(), 0x8000u), upper = hn::Set(WordTag(), 0xffff0000u);
  const Words a = hn::Add(hn::BitCast(WordTag(), low), half);
  const Words b = hn::Add(hn::BitCast(WordTag(), high), half);
  return hn::Or(hn::ShiftRight<16>(a), hn::And(b, upper));
}

// The same of two rows of bf16, of which up to `lanes` elements, `count`, are left. A row may be
// null: zeros.
HWY_INLINE Words pair_rows(const Bf16* low, const Bf16* high, int64_t count) {
  const auto words = [count](const Bf16* row) {
    return row ? hn::BitCast(WordTag(), load_row(row, count)) : hn::Zero(WordTag());
  };
  return hn::Or(hn::ShiftRight<16>(words(low)), words(high));
}

#if HWY_TARGET == HWY_SCALAR
HWY_INLINE void turn_four(Words a, Words b, Words c, Words d, uint32_t* to, int64_t) {
  store_words(a, to), store_words(b, to + 1), store_words(c, to + 2), store_words(d, to + 3);
}
#else
// The 128-bit blocks of v to rows `step` apart.
template <class V>
HWY_INLINE void store_blocks(V v, uint32_t* to, int64_t step) {
  using D = hn::DFromV<V>;
  if constexpr (hn::MaxLanes(D()) > 4) {
    const hn::Half<D> half;
    store_blocks(hn::LowerHalf(half, v), to, step);
    store_blocks(hn::UpperHalf(half, v), to + static_cast<int64_t>(hn::MaxLanes(D())) / 8 * step,
                 step);
  } else {
    hn::StoreU(v, D(), to);
  }
}

// Turns four rows of words into `lanes` rows of four: to[j * to_row + i] is word j of row i.
HWY_INLINE void turn_four(Words a, Words b, Words c, Words d, uint32_t* to, int64_t to_row) {
  const WordTag words;
  const hn::Repartition<uint64_t, WordTag> wide;
  const auto ab = hn::BitCast(wide, hn::InterleaveLower(words, a, b));
  const auto cd = hn::BitCast(wide, hn::InterleaveLower(words, c, d));
  const auto ab_up = hn::BitCast(wide, hn::InterleaveUpper(words, a, b));
  const auto cd_up = hn::BitCast(wide, hn::InterleaveUpper(words, c, d));
  store_blocks(hn::BitCast(words, hn::InterleaveLower(wide, ab, cd)), to, 4 * to_row);
  store_blocks(hn::BitCast(words, hn::InterleaveUpper(wide, ab, cd)), to + to_row, 4 * to_row);
  store_blocks(hn::BitCast(words, hn::InterleaveLower(wide, ab_up, cd_up)), to + 2 * to_row,
               4 * to_row);
  store_blocks(hn::BitCast(words, hn::InterleaveUpper(wide, ab_up, cd_up)), to + 3 * to_row,
               4 * to_row);
}
#endif

// Turns words: to[j * to_row + i] = from[i * from_row + j] for `rows` (a multiple of 4) rows i and
// `cols` (of 16) words j.
inline void turn_words(const uint32_t* from, int64_t from_row, int64_t rows, int64_t cols,
                       uint32_t* to, int64_t to_row) {
  for (int64_t i = 0; i < rows; i += 4)
    for (int64_t j = 0; j < cols; j += lanes) {
      const uint32_t* at = from + i * from_row + j;
      turn_four(load_words(at), load_words(at + from_row), load_words(at + 2 * from_row),
                load_words(at + 3 * from_row), to + j * to_row + i, to_row);
    }
}

// The left side of a product that sums over rows: to[j][i] = row(i)[j] for i below `count`, zero
// from there up to a multiple of 32, and for j below `width` padded to 16. row(i) is a pointer.
template <class Row>
void turn_rows(const Row& row, int64_t count, int64_t width, Bf16* to, int64_t to_row) {
  const auto at = [&](int64_t i) { return i < count ? row(i) : nullptr; };
  for (int64_t i = 0; i < round_up(count, product_depth); i += 8)
    for (int64_t j = 0; j < width; j += lanes) {
      Words pair[4];
      for (int64_t p = 0; p < 4; ++p) {
        const Bf16 *low = at(i + 2 * p), *high = at(i + 2 * p + 1);
        if (low) prefetch_ahead(low + j);
        if (high) prefetch_ahead(high + j);
        pair[p] = pair_rows(low ? low + j : nullptr, high ? high + j : nullptr, width - j);
      }
      turn_four(pair[0], pair[1], pair[2], pair[3],
                reinterpret_cast<uint32_t*>(to + j * to_row + i), to_row / 2);
    }
}

// The right side of a product with turned rows, X^T: to[k * to_row + i] is word k of row(i),
// `count` rows of `width` elements, padded with zeros to `cols` rows (a multiple of 4) of a
// multiple of 32.
template <class Row>
void pair_columns(const Row& row, int64_t count, int64_t width, uint32_t* to, int64_t to_row,
                  int64_t cols) {
  const int64_t words = round_up(width, product_depth) / 2, whole = width / 2 / lanes * lanes;
  const auto load = [&](int64_t i, int64_t k) {
    if (i >= count || k >= round_up(width, 2) / 2) return hn::Zero(WordTag());
    if (k < whole) {
      prefetch_ahead(row(i) + 2 * k);
      return load_words(row(i) + 2 * k);
    }
    alignas(64) uint32_t some[lanes] = {};
    std::memcpy(some, row(i) + 2 * k, static_cast<size_t>(width - 2 * k) * sizeof(Bf16));
    return load_words(some);
  };
  for (int64_t i = 0; i < cols; i += 4)
    for (int64_t k = 0; k < words; k += lanes)
      turn_four(load(i, k), load(i + 1, k), load(i + 2, k), load(i + 3, k), to + k * to_row + i,
                to_row);
}

// Rows padded with zeros to a multiple of 32.
template <class Row>
void copy_rows(const Row& row, int64_t count, int64_t width, Bf16* to) {
  const int64_t padded = round_up(width, product_depth);
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(to + i * padded, row(i), static_cast<size_t>(width) * sizeof(Bf16));
    std::fill(to + i * padded + width, to + (i + 1) * padded, Bf16());
  }
}

}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
