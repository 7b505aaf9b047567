// Step sizes of SSD.
#if defined(TIDEMARK_SSD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_SSD_INL_H
#undef TIDEMARK_SSD_INL_H
#else
#define TIDEMARK_SSD_INL_H
#endif

#include "backend/cpu/context.h"
#include "backend/cpu/prefetch.h"
#include "backend/cpu/simd-inl.h"
#include "plan/ops.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {

inline Vec step_size(const Ssd& op, Vec dt) {
  const Vec d = at_least(op.dt_min, softplus(dt));
  return op.dt_max > 0 ? at_most(op.dt_max, d) : d;
}

// One head's block: d[t], which is zero from `length` to `padded` (a multiple of 16).
template <class T>
void step_sizes(const Ssd& op, const T* dt, float bias, int64_t length, int64_t padded, float* d) {
  for (int64_t t = 0; t < length; ++t) {
    prefetch_row(dt + (t + rows_ahead) * op.dt.stride, 1);
    d[t] = static_cast<float>(dt[t * op.dt.stride]) + bias;
  }
  for (int64_t t = length; t < padded; ++t) d[t] = 0;
  for (int64_t t = 0; t < length; t += lanes) store(step_size(op, load(d + t)), d + t);
  for (int64_t t = length; t < padded; ++t) d[t] = 0;
}

}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
