// What every kernel needs: conversions, 16-byte access, warp reductions, launch overlap.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace tidemark::cuda {

using bf16 = __nv_bfloat16;

__device__ inline float to_float(float x) {
  return x;
}
__device__ inline float to_float(bf16 x) {
  return __bfloat162float(x);
}
template <class T>
__device__ inline T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline bf16 from_float<bf16>(float x) {
  return __float2bfloat16_rn(x);
}

// The two bf16 of a 32-bit word as fp32: the element at the lower address, the one at the higher.
__device__ inline float low_half(uint32_t word) {
  return __uint_as_float(word << 16);
}
__device__ inline float high_half(uint32_t word) {
  return __uint_as_float(word & 0xffff0000u);
}
__device__ inline uint32_t pack_bf16(float low, float high) {
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}

// The products of two pairs of bf16. With a sum that changes nothing: sm_80 has no product alone.
__device__ inline uint32_t multiply_bf16(uint32_t a, uint32_t b) {
  uint32_t word;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(word) : "r"(a), "r"(b), "r"(0x80008000u));
  return word;
}

// 16 bytes that nobody writes while the kernel runs and that are read once: past the L1.
__device__ inline uint4 load_streaming(const void* address) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(address));
  return v;
}

template <int kLanes = 32>
__device__ inline float lane_sum(float x) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}
template <int kLanes = 32>
__device__ inline float lane_max(float x) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2)
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
  return x;
}

// Programmatic dependent launch. Every kernel launched through launch_kernel() calls both: nothing
// that an earlier kernel wrote is read, and nothing is written, before wait_for_previous().
__device__ inline void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ inline void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace tidemark::cuda
