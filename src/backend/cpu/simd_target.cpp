// The name of the instruction set the kernels are dispatched to.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/simd_target.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include <hwy/highway.h>

#include "backend/cpu/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

const char* target() {
  return hwy::TargetName(HWY_TARGET);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {

HWY_EXPORT(target);

std::string_view simd_target() {
  return HWY_DYNAMIC_DISPATCH(target)();
}

}  // namespace tidemark::cpu
#endif
