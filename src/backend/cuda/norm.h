// RMS and layer norm: each of `groups` vectors of `width` in a row on its own.
#pragma once

#include <cstdint>
#include <string>

#include "backend/cuda/queue.h"
#include "base/vocab.h"

namespace tidemark::cuda {

// rms: x / sqrt(mean(x^2) + eps) * (weight_offset + weight), the last factor only with a weight;
// layer: also minus the mean, plus bias.
// Pointers are to device memory; strides are of rows, in elements; all have `dtype`.
struct NormArgs {
  NormKind kind = NormKind::rms;
  const void* x = nullptr;       // [rows, groups * width]
  const void* weight = nullptr;  // [width], or null
  const void* bias = nullptr;    // [width], or null
  void* out = nullptr;           // [rows, groups * width]; may be x
  int64_t x_stride = 0, out_stride = 0;
  int64_t rows = 0;
  int32_t groups = 1, width = 0;
  float eps = 0, weight_offset = 0;
  DType dtype = DType::f32;
};

// How vectors are spread over threads, of norms plain and gated.
struct NormChoice {
  int vector = 1;    // elements per load: 16 bytes' worth, or 1 where rows are not aligned to that
  int threads = 32;  // that share one vector of the row
};
// width up to 16384 in bf16, 8192 in fp32, 2048 where unaligned.
NormChoice choose_norm(const NormArgs&);
std::string name(const NormChoice&);
void launch_norm(const NormArgs&, const NormChoice&, const Queue&);

}  // namespace tidemark::cuda
