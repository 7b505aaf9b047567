// Vectors of floats and the functions kernels are made of, once per instruction set.
// Elements are loaded from fp32 or bf16 and always computed in fp32.
#if defined(TIDEMARK_SIMD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_SIMD_INL_H
#undef TIDEMARK_SIMD_INL_H
#else
#define TIDEMARK_SIMD_INL_H
#endif

#include <hwy/highway.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/bf16.h"
#include "base/vocab.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using IntTag = hn::RebindToSigned<FloatTag>;
using WordTag = hn::RebindToUnsigned<FloatTag>;
using HalfTag = hn::Rebind<uint16_t, FloatTag>;
using Vec = hn::Vec<FloatTag>;
constexpr FloatTag floats;
constexpr float log2_e = 1.44269504F;
constexpr int64_t lanes = static_cast<int64_t>(hn::MaxLanes(FloatTag()));

HWY_INLINE Vec all(float value) {
  return hn::Set(floats, value);
}

// --- Loads and stores -----------------------------------------------------------------------

// Elements as they lie in memory: floats, or the bits of bf16.
HWY_INLINE Vec to_floats(Vec value) {
  return value;
}
HWY_INLINE Vec to_floats(hn::Vec<HalfTag> bits) {
  return hn::BitCast(floats, hn::ShiftLeft<16>(hn::PromoteTo(WordTag(), bits)));
}

HWY_INLINE Vec load(const float* from) {
  return hn::LoadU(floats, from);
}

HWY_INLINE Vec load(const Bf16* from) {
  return to_floats(hn::LoadU(HalfTag(), reinterpret_cast<const uint16_t*>(from)));
}

HWY_INLINE void store(Vec value, float* to) {
  hn::StoreU(value, floats, to);
}

// The upper half of each is the value in bf16, to nearest even.
HWY_INLINE auto rounded_bits(Vec value) {
  const auto bits = hn::BitCast(WordTag(), value);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(WordTag(), 1u));
  return hn::Add(bits, hn::Add(odd, hn::Set(WordTag(), 0x7fffu)));
}

HWY_INLINE void store(Vec value, Bf16* to) {
  const auto upper = hn::BitCast(IntTag(), hn::ShiftRight<16>(rounded_bits(value)));
  hn::StoreU(hn::DemoteTo(HalfTag(), upper), HalfTag(), reinterpret_cast<uint16_t*>(to));
}

// Whether rows that are `stride` apart begin lines of 64 bytes at column `col`.
template <class T>
bool in_whole_lines(const T* rows, int64_t stride, int64_t col) {
  constexpr int64_t line = 64 / sizeof(T);
  return reinterpret_cast<uintptr_t>(rows) % 64 == 0 && stride % line == 0 && col % line == 0;
}

// Both, one behind the other, past the caches, which would fetch the line first that is
// overwritten. For what no cache keeps until it is read; who does so calls hwy::FlushStream() when
// there is no more.
HWY_INLINE void stream_two(Vec first, Vec second, float* to) {
  hn::Stream(first, floats, to);
  hn::Stream(second, floats, to + lanes);
}
HWY_INLINE void stream_two(Vec first, Vec second, Bf16* to) {
#if HWY_TARGET == HWY_SCALAR
  store(first, to);
  store(second, to + lanes);
#else
  const hn::Repartition<uint16_t, FloatTag> halves;
  const auto upper = hn::ConcatOdd(halves, hn::BitCast(halves, rounded_bits(second)),
                                   hn::BitCast(halves, rounded_bits(first)));
  hn::Stream(upper, halves, reinterpret_cast<uint16_t*>(to));
#endif
}

// Two vectors of consecutive elements: of bf16 the even and the odd ones, which costs no shuffle.
struct Pair {
  Vec first, second;
};

HWY_INLINE Pair load_pair(const float* from) {
  return {load(from), load(from + lanes)};
}

HWY_INLINE Pair load_pair(const Bf16* from) {
  const auto both = hn::LoadU(WordTag(), reinterpret_cast<const uint32_t*>(from));
  return {hn::BitCast(floats, hn::ShiftLeft<16>(both)),
          hn::BitCast(floats, hn::And(both, hn::Set(WordTag(), 0xffff0000u)))};
}

HWY_INLINE void store_pair(Pair value, float* to) {
  store(value.first, to), store(value.second, to + lanes);
}

HWY_INLINE void store_pair(Pair value, Bf16* to) {
  const auto even = hn::ShiftRight<16>(rounded_bits(value.first));
  const auto odd = hn::And(rounded_bits(value.second), hn::Set(WordTag(), 0xffff0000u));
  hn::StoreU(hn::Or(even, odd), WordTag(), reinterpret_cast<uint32_t*>(to));
}

// The first `count` lanes; the others read as zero.
template <class T>
HWY_INLINE Vec load_some(const T* from, int64_t count) {
  alignas(64) T whole[lanes] = {};
  std::memcpy(whole, from, static_cast<size_t>(count) * sizeof(T));
  return load(whole);
}

template <class T>
HWY_INLINE void store_some(Vec value, T* to, int64_t count) {
  alignas(64) T whole[lanes];
  store(value, whole);
  std::memcpy(to, whole, static_cast<size_t>(count) * sizeof(T));
}

// load and store of up to `lanes` elements: `count` is what is left of a row.
template <class T>
HWY_INLINE Vec load_row(const T* from, int64_t count) {
  return count >= lanes ? load(from) : load_some(from, count);
}

template <class T>
HWY_INLINE void store_row(Vec value, T* to, int64_t count) {
  if (count >= lanes)
    store(value, to);
  else
    store_some(value, to, count);
}

// A row of `count` elements, of which value(i) gives a vector: with `stream` past the caches, but
// for the last.
template <class T, class Value>
HWY_INLINE void store_values(const Value& value, T* to, int64_t count, bool stream) {
  const int64_t streamed = stream ? count / (2 * lanes) * (2 * lanes) : 0;
  for (int64_t i = 0; i < streamed; i += 2 * lanes) stream_two(value(i), value(i + lanes), to + i);
  for (int64_t i = streamed; i < count; i += lanes) store_row(value(i), to + i, count - i);
}

// Copies a row into fp32, padded with zeros to whole vectors.
template <class T>
HWY_INLINE void unpack_row(const T* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; i += lanes) store(load_row(from + i, count - i), to + i);
}

// Bounds that a NaN passes: a model that computes one must not look as if it had computed a number.
// x86 gives the second operand where one is a NaN; Highway's scalar target and its FMAXNM of Arm
// give the number.
constexpr bool max_gives_second = HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR;
HWY_INLINE Vec at_least(float least, Vec x) {
  if constexpr (max_gives_second) return hn::Max(all(least), x);
  return hn::IfThenElse(hn::Lt(x, all(least)), all(least), x);
}
HWY_INLINE Vec at_most(float most, Vec x) {
  if constexpr (max_gives_second) return hn::Min(all(most), x);
  return hn::IfThenElse(hn::Gt(x, all(most)), all(most), x);
}

HWY_INLINE float sum(Vec v) {
  return hn::GetLane(hn::SumOfLanes(floats, v));
}
HWY_INLINE float max(Vec v) {
  return hn::GetLane(hn::MaxOfLanes(floats, v));
}

#if HWY_TARGET == HWY_SCALAR
HWY_INLINE void store_sums(Vec a, Vec b, Vec c, Vec d, float* to) {
  to[0] = sum(a), to[1] = sum(b), to[2] = sum(c), to[3] = sum(d);
}
#else
// Adds the upper half to the lower until 4 lanes are left.
template <class V>
HWY_INLINE auto fold(V v) {
  using D = hn::DFromV<V>;
  if constexpr (hn::MaxLanes(D()) > 4) {
    const hn::Half<D> half;
    return fold(hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  } else {
    return v;
  }
}

// The sums of four vectors' lanes: two interleavings leave every 128-bit block with its part of all
// four, which costs 3 operations per sum instead of 8.
HWY_INLINE void store_sums(Vec a, Vec b, Vec c, Vec d, float* to) {
  const hn::Repartition<uint64_t, FloatTag> wide;
  const Vec ab = hn::Add(hn::InterleaveLower(floats, a, b), hn::InterleaveUpper(floats, a, b));
  const Vec cd = hn::Add(hn::InterleaveLower(floats, c, d), hn::InterleaveUpper(floats, c, d));
  const auto x = hn::BitCast(wide, ab), y = hn::BitCast(wide, cd);
  const Vec blocks = hn::Add(hn::BitCast(floats, hn::InterleaveLower(wide, x, y)),
                             hn::BitCast(floats, hn::InterleaveUpper(wide, x, y)));
  const auto four = fold(blocks);
  hn::StoreU(four, hn::DFromV<decltype(four)>(), to);
}
#endif

// --- Functions ------------------------------------------------------------------------------

template <int64_t n>
HWY_INLINE Vec polynomial(Vec x, const float (&c)[n]) {
  Vec sum = all(c[n - 1]);
  for (int64_t i = n - 2; i >= 0; --i) sum = hn::MulAdd(sum, x, all(c[i]));
  return sum;
}

// 2^x to a relative error of 2e-7, exact at whole x; below -126 as much or less.
#if HWY_TARGET == HWY_AVX3
// Splitting x and scaling the power are instructions: 9 operations. A polynomial gives the power of
// what is left, in [0, 1).
HWY_INLINE Vec above_floor(Vec x) {
  return Vec{_mm512_reduce_ps(x.raw, 1)};
}
template <int64_t n>
HWY_INLINE Vec exp2_by(Vec x, Vec rest, const float (&c)[n]) {
  return Vec{_mm512_scalef_ps(polynomial(rest, c).raw, x.raw)};
}
// To 9e-8, and 1 at 0 and 2 at 1, so that what decays slowly does at the right rate, to 7e-6 of it.
constexpr float exp2_terms[] = {1.0F,           0.6931517388F,   0.2401592715F,
                                0.05581867594F, 0.008990995129F, 0.001879318632F};
HWY_INLINE Vec exp2(Vec x) {
  return exp2_by(x, above_floor(x), exp2_terms);
}
#else
// For x up to 127.9, which is split into the nearest integer and a rest in [-1/2, 1/2], for which a
// polynomial of degree 6 has 3e-9.
HWY_INLINE Vec exp2(Vec x) {
  constexpr float c[] = {1.0F,
                         0.6931472067F,
                         0.2402265121F,
                         0.05550327214F,
                         0.009618025603F,
                         0.001340043217F,
                         0.0001546973191F};
  // Adding 1.5 * 2^23 leaves the nearest integer in the low
  // bits.
  const Vec magic = all(12582912.0F);
  const Vec clamped = at_least(-126.0F, x);
  const Vec shifted = hn::Add(clamped, magic);
  const Vec rest = hn::Sub(clamped, hn::Sub(shifted, magic));
  const auto power = hn::ShiftLeft<23>(hn::BitCast(IntTag(), shifted));
  return hn::BitCast(floats, hn::Add(hn::BitCast(IntTag(), polynomial(rest, c)), power));
}
#endif

// The same as exp2 for what is rounded to bf16: relative error 7.5e-5.
HWY_INLINE Vec exp2_to_bf16(Vec x) {
  constexpr float c[] = {0.9999280735F, 0.6932609855F, 0.2426111222F, 0.05517166907F};
  const Vec magic = all(12582912.0F);
  const Vec clamped = at_least(-126.0F, x);
  const Vec shifted = hn::Add(clamped, magic);
  const Vec rest = hn::Sub(clamped, hn::Sub(shifted, magic));
  const auto power = hn::ShiftLeft<23>(hn::BitCast(IntTag(), shifted));
  return hn::BitCast(floats, hn::Add(hn::BitCast(IntTag(), polynomial(rest, c)), power));
}

// The same for any x: below -126 as much or less, from 127 up at least 2^127. Splitting and scaling
// are instructions of AVX-512, which know the ends of the range: 5 operations instead of 9.
#if HWY_TARGET == HWY_AVX3
HWY_INLINE Vec exp2_any_to_bf16(Vec x) {
  constexpr float c[] = {0.9999252185F, 0.6958335406F, 0.2260671554F, 0.07802452266F};
  return exp2_by(x, above_floor(x), c);
}
#else
HWY_INLINE Vec exp2_any_to_bf16(Vec x) {
  return exp2_to_bf16(at_most(127.0F, x));
}
#endif

// e^x, 1.2e-38 or less below -87.3; infinity above 88.8. Relative error 2e-7 over the whole range:
// the product x * log2(e) is kept in two parts.
#if HWY_TARGET == HWY_AVX3
HWY_INLINE Vec exp(Vec x) {
  // Of an infinite product the part that is lost would be no number.
  const Vec finite = at_most(89.0F, at_least(-104.0F, x));
  const Vec high = hn::Mul(finite, all(log2_e));
  const Vec lost = hn::MulSub(finite, all(log2_e), high);
  const Vec low = hn::MulAdd(finite, all(1.92596299e-8F), lost);
  return exp2_by(high, hn::Add(above_floor(high), low), exp2_terms);
}
#else
HWY_INLINE Vec exp(Vec x) {
  constexpr float c[] = {1.0F,
                         0.6931472067F,
                         0.2402265121F,
                         0.05550327214F,
                         0.009618025603F,
                         0.001340043217F,
                         0.0001546973191F};
  const Vec magic = all(12582912.0F);
  const Vec clamped = at_least(-87.33F, x);
  const Vec high = all(1.44269504F), low = all(1.92596299e-8F);
  const Vec shifted = hn::MulAdd(clamped, high, magic);
  const Vec nearest = hn::Sub(shifted, magic);
  const Vec rest = hn::MulAdd(clamped, low, hn::MulSub(clamped, high, nearest));
  const auto power = hn::ShiftLeft<23>(hn::BitCast(IntTag(), shifted));
  const Vec value = hn::BitCast(floats, hn::Add(hn::BitCast(IntTag(), polynomial(rest, c)), power));
  return hn::IfThenElse(hn::Gt(x, all(88.72F)), all(HUGE_VALF), value);
}
#endif

// 1 / x for x in [1, 2^126], to 1e-7. Dividing 16 lanes takes 10 to 16 cycles, this 4 operations.
HWY_INLINE Vec reciprocal(Vec x) {
  if constexpr (lanes < 16) return hn::Div(all(1.0F), x);
  const Vec guess = hn::ApproximateReciprocal(x);  // to 2^-14
  return hn::Mul(guess, hn::NegMulAdd(guess, x, all(2.0F)));
}

HWY_INLINE Vec sigmoid(Vec x) {
  return reciprocal(hn::Add(all(1.0F), exp(at_most(87.0F, hn::Neg(x)))));
}

HWY_INLINE Vec silu(Vec x) {
  return hn::Mul(x, sigmoid(x));
}

// silu for a result of type T: to 2e-4 where it is rounded to bf16 on the way out, at half the
// operations.
template <class T>
HWY_INLINE Vec silu_to(Vec x) {
  if constexpr (lanes < 16 || sizeof(T) == 4) return silu(x);
  const Vec power = exp2_any_to_bf16(hn::Mul(x, all(-log2_e)));
  return hn::Mul(x, hn::ApproximateReciprocal(hn::Add(all(1.0F), power)));
}

// log(1 + e^x) = max(x, 0) + log1p(e^-|x|), and log1p(u) = u p(u) on [0, 1]: to 4e-7.
HWY_INLINE Vec softplus(Vec x) {
  constexpr float c[] = {0.9999998057F, -0.4999740556F, 0.3327548223F,  -0.2449547711F,
                         0.1774528135F, -0.1076822875F, 0.04409004324F, -0.00853932461F};
  const Vec u = exp(hn::Neg(hn::Abs(x)));
  return hn::MulAdd(u, polynomial(u, c), at_least(0, x));
}

// Below 5/8 x * p(x^2), above 1 - 2 / (1 + e^2x).
HWY_INLINE Vec tanh(Vec x) {
  constexpr float c[] = {0.9999999962F,   -0.3333326164F, 0.1333115016F,
                         -0.05372267934F, 0.02059567995F, -0.00566477535F};
  const Vec a = hn::Abs(x);
  const Vec below = hn::Mul(x, polynomial(hn::Mul(x, x), c));
  const Vec tail = hn::Div(all(2.0F), hn::Add(all(1.0F), exp(hn::Add(a, a))));
  const Vec above = hn::CopySign(hn::Sub(all(1.0F), tail), x);
  return hn::IfThenElse(hn::Lt(a, all(0.625F)), below, above);
}

// Chebyshev fits: on [0, 1] x * p(x^2), on [1, 4] a polynomial in (|x| - 2.5) / 1.5, then 1.
HWY_INLINE Vec erf(Vec x) {
  constexpr float near[] = {1.128379166F,   -0.376126269F,     0.1128359746F,   -0.02685432879F,
                            0.00518931194F, -0.0008018854966F, 7.882497023e-05F};
  constexpr float far[] = {0.9995930476F,    0.003267276919F,  -0.01225279947F, 0.02818722266F,
                           -0.04365193426F,  0.04639105123F,   -0.03186589637F, 0.009574278362F,
                           0.006630969924F,  -0.01040347254F,  0.004676661933F, 0.001536217172F,
                           -0.002039517818F, 9.703090125e-05F, 0.000259857077F};
  const Vec a = at_most(4.0F, hn::Abs(x));
  const Vec below = hn::Mul(x, polynomial(hn::Mul(x, x), near));
  const Vec u = hn::Mul(hn::Sub(a, all(2.5F)), all(1.0F / 1.5F));
  const Vec above = hn::CopySign(polynomial(u, far), x);
  return hn::IfThenElse(hn::Lt(a, all(1.0F)), below, above);
}

// The activation for a result of type T.
template <Act act, class T>
HWY_INLINE Vec activate(Vec x) {
  if constexpr (act == Act::silu) return silu_to<T>(x);
  if constexpr (act == Act::sigmoid) return sigmoid(x);
  if constexpr (act == Act::gelu)
    return hn::Mul(hn::Mul(all(0.5F), x), hn::Add(all(1.0F), erf(hn::Mul(x, all(0.70710678F)))));
  if constexpr (act == Act::gelu_tanh) {
    const Vec inner =
        hn::Mul(all(0.7978845608F), hn::MulAdd(hn::Mul(hn::Mul(x, x), x), all(0.044715F), x));
    return hn::Mul(hn::Mul(all(0.5F), x), hn::Add(all(1.0F), tanh(inner)));
  }
  if constexpr (act == Act::relu2) {
    const Vec positive = at_least(0, x);
    return hn::Mul(positive, positive);
  }
  return x;
}

// Calls body.template operator()<act>() with the activation as a constant.
template <class Body>
HWY_INLINE void with_activation(Act act, const Body& body) {
  switch (act) {
    case Act::silu:
      return body.template run<Act::silu>();
    case Act::gelu:
      return body.template run<Act::gelu>();
    case Act::gelu_tanh:
      return body.template run<Act::gelu_tanh>();
    case Act::relu2:
      return body.template run<Act::relu2>();
    case Act::sigmoid:
      return body.template run<Act::sigmoid>();
    case Act::identity:
      return body.template run<Act::identity>();
  }
}

}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
