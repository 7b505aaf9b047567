// The small operators on rows of activations: add, row gate, soft cap, combine of experts.
// Pointers are to device memory; strides are of rows, in elements.
#pragma once

#include <cstdint>

#include "backend/cuda/queue.h"
#include "base/vocab.h"

namespace tidemark::cuda {

// out = x + y, or x where y is null; [rows, width] of `dtype` each.
struct AddArgs {
  const void *x = nullptr, *y = nullptr;
  void* out = nullptr;  // may be x or y
  int64_t x_stride = 0, y_stride = 0, out_stride = 0;
  int64_t rows = 0;
  int32_t width = 0;
  DType dtype = DType::f32;
};
void launch_add(const AddArgs&, const Queue&);

// out[r, :] = act(gate[r]) * x[r, :]
struct RowGateArgs {
  Act act = Act::sigmoid;
  const void *gate = nullptr, *x = nullptr;  // [rows, 1], [rows, width]
  void* out = nullptr;                       // may be x
  int64_t gate_stride = 0, x_stride = 0, out_stride = 0;
  int64_t rows = 0;
  int32_t width = 0;
  DType dtype = DType::f32;
};
void launch_row_gate(const RowGateArgs&, const Queue&);

// x = cap * tanh(x / cap), in place.
struct SoftCapArgs {
  void* x = nullptr;  // [rows, width]
  int64_t x_stride = 0;
  int64_t rows = 0;
  int32_t width = 0;
  float cap = 1;
  DType dtype = DType::f32;
};
void launch_soft_cap(const SoftCapArgs&, const Queue&);

// out[r, :] (+)= sum_j weights[r, j] * x[position[r, j], :]
struct CombineArgs {
  const void* x = nullptr;            // [rows * top_k, width]
  const float* weights = nullptr;     // [rows, top_k]
  const int32_t* position = nullptr;  // [rows, top_k]
  void* out = nullptr;                // [rows, width]
  int64_t x_stride = 0, weights_stride = 0, position_stride = 0, out_stride = 0;
  int64_t rows = 0;
  int32_t top_k = 0, width = 0;
  bool accumulate = false;
  DType dtype = DType::f32;
};
void launch_combine(const CombineArgs&, const Queue&);

}  // namespace tidemark::cuda
