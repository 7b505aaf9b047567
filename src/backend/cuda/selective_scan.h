// Mamba-1: d = softplus(dt + dt_bias); h = exp(d A) h + d B x; y = C h + D x; out = y silu(z).
#pragma once

#include <cstdint>
#include <string>

#include "backend/cuda/queue.h"
#include "base/vocab.h"

namespace tidemark::cuda {

// Pointers are to device memory; strides are of rows, in elements; row b * length + t is token t of
// sequence b. Operands have `dtype`, the state is fp32.
struct SelectiveScanArgs {
  const void* x = nullptr;            // [rows, channels]
  const void* dt = nullptr;           // [rows, channels]
  const void* b = nullptr;            // [rows, state_size]
  const void* c = nullptr;            // [rows, state_size]
  const void* z = nullptr;            // [rows, channels]
  const void* a_log = nullptr;        // [channels, state_size]
  const void* d_skip = nullptr;       // [channels]
  const void* dt_bias = nullptr;      // [channels]
  float* state = nullptr;             // [batch, channels, state_size]
  void* out = nullptr;                // [rows, channels]; none of the inputs
  const int64_t* past_ptr = nullptr;  // one number; null or 0: the state counts as zero, unread
  int64_t x_stride = 0, dt_stride = 0, b_stride = 0, c_stride = 0, z_stride = 0, out_stride = 0;
  int64_t batch = 0, length = 0;
  int32_t channels = 0, state_size = 0;
  DType dtype = DType::f32;
};

enum class ScanKernel { recurrence, tiles };
struct SelectiveScanChoice {
  ScanKernel kernel = ScanKernel::recurrence;
  int channels_per_block = 8;  // of `tiles`: 8, 16, 24 or 32
};

// `tiles` needs a state_size up to 32; `recurrence`, for a few tokens, up to 256.
SelectiveScanChoice choose_selective_scan(const SelectiveScanArgs&, int sm_count);
std::string name(const SelectiveScanChoice&);
void launch_selective_scan(const SelectiveScanArgs&, const SelectiveScanChoice&, const Queue&);

}  // namespace tidemark::cuda
