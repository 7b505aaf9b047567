// Which instruction sets the kernels are compiled for; to be included with HWY_TARGET_INCLUDE set.
// Left out: SSE (x86 machines without AVX2 take the baseline), the VBMI-class AVX-512 (no use
// here), and the scalable ones, whose vectors cannot be held in arrays (Arm runs NEON).
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif
#include <hwy/foreach_target.h>
