// Runs of elements that move in one load or store, and the scalar functions of the operators in
// fp32.
#pragma once

#include "backend/cuda/device.cuh"
#include "base/vocab.h"

namespace tidemark::cuda {

// n elements, moved at once: n * sizeof(T) is 2, 4, 8 or 16 bytes and the address a multiple of it.
template <class T, int n>
struct alignas(sizeof(T) * n) Vector {
  T value[n];
};
// Elements of T in 16 bytes.
template <class T>
inline constexpr int full_vector = 16 / static_cast<int>(sizeof(T));

template <class T, int n>
__device__ inline Vector<T, n> load_vector(const T* p) {
  return *reinterpret_cast<const Vector<T, n>*>(p);
}
template <class T, int n>
__device__ inline void store_vector(T* p, const float (&x)[n]) {
  Vector<T, n> v;
#pragma unroll
  for (int i = 0; i < n; ++i) v.value[i] = from_float<T>(x[i]);
  *reinterpret_cast<Vector<T, n>*>(p) = v;
}
template <class T, int n>
__device__ inline void to_floats(const Vector<T, n>& v, float (&x)[n]) {
#pragma unroll
  for (int i = 0; i < n; ++i) x[i] = to_float(v.value[i]);
}

inline bool is_multiple_of(const void* p, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(p) % static_cast<uintptr_t>(bytes) == 0;
}

inline constexpr float log2_e = 1.4426950408889634F;
inline constexpr float ln_2 = 0.6931471805599453F;

// 2^x to 2 ulp in one special-function instruction; 0 for -inf.
__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ inline float log2_fast(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ inline float exp_fast(float x) {
  return exp2_fast(x * log2_e);
}

// log(1 + e^x). For fp32 operands to fp32 accuracy; for bf16 ones to 1e-5, the series keeping small
// results relative.
template <class T>
__device__ inline float softplus(float x) {
  if constexpr (sizeof(T) == 4) return x > 20.0F ? x : log1pf(expf(x));
  const float e = exp_fast(x);
  const float series = e * fmaf(e, fmaf(e, 0.33333333F, -0.5F), 1.0F);
  const float direct = log2_fast(1.0F + e) * ln_2;
  return x > 20.0F ? x : (e < 0.015625F ? series : direct);
}
__device__ inline float reciprocal_fast(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ inline float sigmoid(float x) {
  return reciprocal_fast(1.0F + exp_fast(-x));
}
__device__ inline float silu(float x) {
  return x * sigmoid(x);
}

template <Act act>
__device__ inline float activate(float x) {
  if constexpr (act == Act::silu) return silu(x);
  if constexpr (act == Act::gelu) return 0.5F * x * (1.0F + erff(x * 0.70710678F));
  if constexpr (act == Act::gelu_tanh) {
    // 0.5 x (1 + tanh(u)) = x sigmoid(2 u)
    const float u = 0.79788456F * fmaf(0.044715F * x * x, x, x);
    return x * sigmoid(2.0F * u);
  }
  if constexpr (act == Act::relu2) return x > 0.0F ? x * x : 0.0F;
  if constexpr (act == Act::sigmoid) return sigmoid(x);
  return x;
}

}  // namespace tidemark::cuda
