// out[m, n] (+)= scale * (sum_k x[m, k] * weight[n, k] + bias[n]) for a few rows m, at memory
// speed. x may be made on the way: the norm or the gated unit before a projection costs a launch of
// its own otherwise.
#pragma once

#include <cstdint>
#include <string>

#include "backend/cuda/queue.h"
#include "base/vocab.h"

namespace tidemark::cuda {

// What makes row m of the product's x from memory, rounded to dtype as the operator alone would.
enum class Prologue {
  none,      // x
  rms_norm,  // x / sqrt(mean(x^2) + eps) * (weight_offset + norm_weight)
  glu        // act(x) * up
};

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

  Prologue prologue = Prologue::none;
  const void* norm_weight = nullptr;  // [k]
  float eps = 0, weight_offset = 0;
  const void* up = nullptr;  // [m, k], up_stride
  int64_t up_stride = 0;
  Act act = Act::silu;
};

inline constexpr int32_t gemv_max_rows = 8;
// A prologue's result is staged in shared memory.
inline constexpr int64_t gemv_max_staged_bytes = 128 * 1024;

// Which shape of the kernel runs; its name goes into the records.
struct GemvChoice {
  int vector = 1;  // elements per load: 16 bytes' worth, or 1 where rows are not aligned to that
  int rows = 1;    // of the weight, per group of lanes
  int lanes = 32;  // that share a row
  int warps_on_k = 1;  // of a block of 8, that split k between them
};
GemvChoice choose_gemv(const GemvArgs&, int sm_count);
// Whether `a` may have a prologue: those need aligned rows.
bool gemv_takes_prologue(const GemvArgs& a);
std::string name(const GemvArgs&, const GemvChoice&);
void launch_gemv(const GemvArgs&, const GemvChoice&, const Queue&);

}  // namespace tidemark::cuda
