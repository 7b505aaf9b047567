#include "instructions/stream.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "instructions/stream.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tidemark::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

void stream_vectors(float a, const float* x, float* y, int64_t count) {
  const hn::ScalableTag<float> floats;
  const auto factor = hn::Set(floats, a);
  for (int64_t i = 0; i < count; i += static_cast<int64_t>(hn::Lanes(floats)))
    hn::StoreU(hn::MulAdd(factor, hn::LoadU(floats, x + i), hn::LoadU(floats, y + i)), floats,
               y + i);
}

}  // namespace
}  // namespace tidemark::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
HWY_EXPORT(stream_vectors);

void stream(float a, const float* x, float* y, int64_t count) {
  HWY_DYNAMIC_DISPATCH(stream_vectors)(a, x, y, count);
}

}  // namespace tidemark
#endif
