// out[m, n] (+)= scale * (sum_k x[m, k] * weight[n, k] + bias[n]) for a few rows m, at memory
// speed; and what a product of one row takes along of the operators before and after it.
#pragma once

#include <cstdint>
#include <string>

#include "backend/cuda/conv1d.h"
#include "backend/cuda/positions.h"
#include "backend/cuda/queue.h"
#include "backend/cuda_plan.h"
#include "base/vocab.h"

namespace tidemark::cuda {

// RMS norm of x before the product: x / sqrt(mean(x^2) + eps) * (offset + weight).
struct GemvNorm {
  const void* weight = nullptr;  // [k] dtype
  void* out = nullptr;           // [k] dtype: the normed x, where others read it too; else null
  float eps = 0, offset = 0;
};

// What follows the product: nothing; the gated unit out[r] = act(y[r]) * y[n / 2 + r], r < n / 2; a
// causal convolution over columns [conv_begin, + conv.channels), whose `out` is conv.out; the
// rotation of q and k, all of whose heads are rotated whole, with the cache append.
enum class GemvTail { none, glu, conv, rope };

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

  // Of one row (m 1), neither with accumulate nor out_dtype other than dtype where there is a tail.
  GemvNorm norm{};
  GemvTail tail = GemvTail::none;
  Act act = Act::silu;
  int32_t conv_begin = 0;
};

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
// `conv` and `rope`: of the tail of that name; their x, or q, k and v, are the product's out.
void launch_gemv(const GemvArgs&, const GemvChoice&, const Queue&, const Conv1dArgs& conv = {},
                 const RopeArgs& rope = {});

}  // namespace tidemark::cuda
