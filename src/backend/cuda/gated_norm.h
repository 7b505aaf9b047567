// Mamba-2's gated RMS norm: each of `groups` vectors of `width` in a row on its own.
#pragma once

#include <cstdint>

#include "backend/cuda/norm.h"

namespace tidemark::cuda {

// out = rms(x * silu(z)) * weight, or with norm_before_gate rms(x) * weight * silu(z).
// Pointers are to device memory; strides are of rows, in elements; all have `dtype`.
struct GatedNormArgs {
  const void* x = nullptr;       // [rows, groups * width]
  const void* z = nullptr;       // [rows, groups * width]
  const void* weight = nullptr;  // [groups * width], or [width] with shared_weight
  void* out = nullptr;           // [rows, groups * width]; may be x or z
  int64_t x_stride = 0, z_stride = 0, out_stride = 0;
  int64_t rows = 0;
  int32_t groups = 1, width = 0;
  float eps = 0;
  bool norm_before_gate = false, shared_weight = false;
  DType dtype = DType::f32;
};

NormChoice choose_gated_norm(const GatedNormArgs&);
void launch_gated_norm(const GatedNormArgs&, const NormChoice&, const Queue&);

}  // namespace tidemark::cuda
