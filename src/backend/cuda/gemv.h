// out[m, n] (+)= scale * (sum_k x[m, k] * weight[n, k] + bias[n]) for a few rows m, at memory
// speed.
#pragma once

#include <cstdint>
#include <string>

#include "backend/cuda/queue.h"
#include "base/vocab.h"

namespace tidemark::cuda {

struct GemvArgs {
  const void* x = nullptr;       // [m, k] dtype
  const void* weight = nullptr;  // [n, k] dtype; constant for the life of the plan
  const void* bias = nullptr;    // [n] dtype, or null
  void* out = nullptr;           // [m, n] out_dtype
  int64_t x_stride = 0, weight_stride = 0, out_stride = 0;
  int32_t m = 0, n = 0, k = 0;
  float scale = 1;
  bool accumulate = false;
  DType dtype = DType::f32, out_dtype = DType::f32;

  // One row of x alone (m 1) may take along the RMS norm before it,
  //   x / sqrt(mean(x^2) + eps) * (weight_offset + norm_weight),
  const void* norm_weight = nullptr;  // [k], or null: no norm
  float eps = 0, weight_offset = 0;
  // and the gated unit after it: out[r] = act(y[r]) * y[n / 2 + r] for r < n / 2.
  bool glu = false;
  Act act = Act::silu;
};

inline constexpr int32_t gemv_max_rows = 8;

// Which shape of the kernel runs; its name goes into the records.
struct GemvChoice {
  int vector = 1;  // elements per load: 16 bytes' worth, or 1 where rows are not aligned to that
  int rows = 1;    // of the weight, per group of lanes
  int lanes = 32;  // that share a row
  int warps_on_k = 1;  // of a block of 8, that split k between them
};
GemvChoice choose_gemv(const GemvArgs&, int sm_count);
// Whether the kernel can take along what `a` says.
bool gemv_takes_along(const GemvArgs& a);
std::string name(const GemvArgs&, const GemvChoice&);
void launch_gemv(const GemvArgs&, const GemvChoice&, const Queue&);

}  // namespace tidemark::cuda
