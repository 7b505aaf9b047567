// Vectors of 8-bit weights as fp32.
#if defined(TIDEMARK_INT8_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_INT8_INL_H
#undef TIDEMARK_INT8_INL_H
#else
#define TIDEMARK_INT8_INL_H
#endif

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {

HWY_INLINE Vec load_int8(const int8_t* from) {
  const hn::Rebind<int8_t, FloatTag> bytes;
  return hn::ConvertTo(floats, hn::PromoteTo(IntTag(), hn::LoadU(bytes, from)));
}

// Up to `lanes` of them: `count` is what is left of a row; the others read as zero.
HWY_INLINE Vec load_int8_row(const int8_t* from, int64_t count) {
  if (count >= lanes) return load_int8(from);
  alignas(64) int8_t whole[lanes] = {};
  std::memcpy(whole, from, static_cast<size_t>(count));
  return load_int8(whole);
}

}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
