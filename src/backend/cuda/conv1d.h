// Depthwise causal convolution with carried inputs, bias, optional SiLU.
#pragma once

#include <cstdint>
#include <string>

#include "backend/cuda/queue.h"
#include "base/vocab.h"

namespace tidemark::cuda {

// out[t, c] = act(bias[c] + sum_k weight[c, k] x[t - (width - 1) + k, c]), inputs before the step
// from `state`. Pointers are to device memory; strides are of rows, in elements; all have `dtype`.
struct Conv1dArgs {
  const void* x = nullptr;            // [rows, channels]
  const void* weight = nullptr;       // [channels, width]
  const void* bias = nullptr;         // [channels], or null
  void* state = nullptr;              // [batch, channels, width - 1], oldest first
  void* out = nullptr;                // [rows, channels]; not x
  const int64_t* past_ptr = nullptr;  // one number; null or 0: the state counts as zero, unread
  int64_t x_stride = 0, out_stride = 0;
  int64_t batch = 0, length = 0;
  int32_t channels = 0, width = 0;
  bool silu = false;
  DType dtype = DType::f32;
};

struct Conv1dChoice {
  int vector = 1;  // channels per thread: 16 or 8 bytes' worth, or 1 where rows are not aligned
  int run = 1;     // tokens per thread
};
// width 2, 3 or 4.
Conv1dChoice choose_conv1d(const Conv1dArgs&, int sm_count);
std::string name(const Conv1dChoice&);
void launch_conv1d(const Conv1dArgs&, const Conv1dChoice&, const Queue&);

}  // namespace tidemark::cuda
