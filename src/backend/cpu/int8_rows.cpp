// The passes over memory around a product with 8-bit weights: rounding x, widening rows of the
// weight to bf16, and scaling sums into the result. Bound by the cache.
#include <algorithm>

#include "backend/cpu/int8.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/int8_rows.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/int8-inl.h"
#include "backend/cpu/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

template <class Q>
void store_integers(hn::Vec<IntTag> value, Q* to, int64_t count) {
  if constexpr (std::is_same_v<Q, Bf16>) {
    store_row(hn::ConvertTo(floats, value), to, count);
  } else {
    const hn::Rebind<Q, FloatTag> tag;
    alignas(64) Q whole[lanes];
    Q* at = count >= lanes ? to : whole;
    hn::StoreU(hn::DemoteTo(tag, value), tag, at);
    if (at == whole) std::memcpy(to, whole, static_cast<size_t>(count) * sizeof(Q));
  }
}

// The definition is in plan/ops.h. Where a value isn't finite the scale is not a number.
template <class Q>
void round_row(const Bf16* x, int64_t width, int64_t stride, Q* to, float* scale) {
  Vec largest = hn::Zero(floats), poison = hn::Zero(floats);
  for (int64_t i = 0; i < width; i += lanes) {
    const Vec value = load_row(x + i, width - i);
    largest = hn::Max(largest, hn::Abs(value));
    poison = hn::MulAdd(value, hn::Zero(floats), poison);
  }
  const float most = max(largest);
  const Vec inverse = all(most > static_cast<float>(least_int8_row) ? 127 / most : 0);
  *scale = most / 127 + sum(poison);
  for (int64_t i = 0; i < stride; i += lanes) {
    const Vec value = i < width ? load_row(x + i, width - i) : hn::Zero(floats);
    store_integers(hn::NearestInt(hn::Mul(value, inverse)), to + i, stride - i);
  }
}

template <class Q>
void round_rows(const Int8Product& p, Q* to, int64_t stride, float* scales, int64_t begin,
                int64_t end) {
  for (int64_t row = begin; row < end; ++row)
    round_row(p.x + row * p.x_stride, p.k, stride, to + row * stride, scales + row);
}

void round_to_i8(const Int8Product& p, int8_t* to, int64_t stride, float* scales, int64_t begin,
                 int64_t end) {
  round_rows(p, to, stride, scales, begin, end);
}
void round_to_i16(const Int8Product& p, int16_t* to, int64_t stride, float* scales, int64_t begin,
                  int64_t end) {
  round_rows(p, to, stride, scales, begin, end);
}
void round_to_bf16(const Int8Product& p, Bf16* to, int64_t stride, float* scales, int64_t begin,
                   int64_t end) {
  round_rows(p, to, stride, scales, begin, end);
}

void widen(const Int8Product& p, int64_t row, bool scaled, Bf16* to) {
  const int8_t* from = p.weight + row * p.weight_stride;
  const Bf16* scales = p.scales + row * p.scales_stride;
  for (int64_t first = 0; first < p.k; first += p.group) {
    const Vec scale = all(scaled ? static_cast<float>(scales[first / p.group]) : 1);
    const int64_t end = std::min(first + p.group, p.k);
    for (int64_t i = first; i < end; i += lanes)
      store_row(hn::Mul(load_int8_row(from + i, end - i), scale), to + i, end - i);
  }
}

HWY_INLINE Vec load_sums(const float* from) {
  return load(from);
}
HWY_INLINE Vec load_sums(const int32_t* from) {
  return hn::ConvertTo(floats, hn::LoadU(IntTag(), from));
}

template <class Sum, class Out>
void finish_row(const Int8Product& p, const Int8Sums& s, int64_t row) {
  const Sum* sums = static_cast<const Sum*>(s.sums) + (row - s.first_row) * s.stride;
  const Bf16* scales = p.scales + s.first;  // one per row of the weight
  const Bf16* bias = p.has_bias ? p.bias + s.first : nullptr;
  Out* out = static_cast<Out*>(p.out) + row * p.out_stride + s.first;
  const Vec row_scale = all(s.row_scales[row]);
  const auto finished = [&](int64_t j) {
    const int64_t left = s.cols - j;
    Vec value = hn::Mul(hn::Mul(load_sums(sums + j), load_row(scales + j, left)), row_scale);
    if (bias) value = hn::Add(value, load_row(bias + j, left));
    value = hn::Mul(value, all(p.scale));
    return p.accumulate ? hn::Add(value, load_row(out + j, left)) : value;
  };
  const bool stream = s.streams && in_whole_lines(static_cast<Out*>(p.out), p.out_stride, s.first);
  store_values(finished, out, s.cols, stream);
}

void finish_rows(const Int8Product& p, const Int8Sums& s, int64_t begin, int64_t end) {
  const auto row = s.is_i32 ? (p.out_f32 ? finish_row<int32_t, float> : finish_row<int32_t, Bf16>)
                            : (p.out_f32 ? finish_row<float, float> : finish_row<float, Bf16>);
  for (int64_t i = begin; i < end; ++i) row(p, s, i);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {

HWY_EXPORT(round_to_i8);
HWY_EXPORT(round_to_i16);
HWY_EXPORT(round_to_bf16);
HWY_EXPORT(widen);
HWY_EXPORT(finish_rows);

namespace {

// Rows of `width` elements, shared when there is enough to do.
template <class Body>
void share_rows(int threads, int64_t rows, int64_t width, const Body& body) {
  parallel_ranges(threads, rows, 1 + 16384 / width,
                  [&](int64_t begin, int64_t end, int) { body(begin, end); });
}

}  // namespace

void round_x(const Int8Product& p, int threads, int8_t* to, int64_t stride, float* row_scales) {
  share_rows(threads, p.m, p.k, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(round_to_i8)(p, to, stride, row_scales, begin, end);
  });
}

void round_x(const Int8Product& p, int threads, int16_t* to, int64_t stride, float* row_scales) {
  share_rows(threads, p.m, p.k, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(round_to_i16)(p, to, stride, row_scales, begin, end);
  });
}

void round_x(const Int8Product& p, int threads, Bf16* to, int64_t stride, float* row_scales) {
  share_rows(threads, p.m, p.k, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(round_to_bf16)(p, to, stride, row_scales, begin, end);
  });
}

void widen_weight(const Int8Product& p, int threads, int64_t first, int64_t rows, bool scaled,
                  Bf16* to) {
  share_rows(threads, rows, p.k, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      HWY_DYNAMIC_DISPATCH(widen)(p, first + row, scaled, to + row * p.k);
  });
}

void finish(const Int8Product& p, int threads, const Int8Sums& s) {
  share_rows(threads, p.m, s.cols, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(finish_rows)(p, s, begin, end);
  });
}

void finish(const Int8Product& p, const Int8Sums& s, int64_t rows) {
  HWY_DYNAMIC_DISPATCH(finish_rows)(p, s, s.first_row, s.first_row + rows);
}

}  // namespace tidemark::cpu
#endif
