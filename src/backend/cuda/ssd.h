// Mamba-2 (SSD): d = clamp(softplus(dt + dt_bias)); h = exp(d A) h + d x B^T; y = C h + D x.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "backend/cuda/queue.h"
#include "backend/cuda_plan.h"
#include "base/vocab.h"

namespace tidemark::cuda {

// Pointers are to device memory; strides are of rows, in elements; row b * length + t is token t of
// sequence b. Operands have `dtype`, the state is fp32.
struct SsdArgs {
  const void* x = nullptr;   // [rows, heads * head_dim]
  const void* dt = nullptr;  // [rows, heads]
  const void* b = nullptr;   // [rows, groups * state_size]
  const void* c = nullptr;   // [rows, groups * state_size]
  const void* a_log = nullptr;
  const void* d_skip = nullptr;
  const void* dt_bias = nullptr;  // each [heads]
  float* state = nullptr;         // [batch, heads, head_dim, state_size]
  void* out = nullptr;            // [rows, heads * head_dim]; not x
  // [rows, heads * head_dim], or null: out = y * silu(z), y rounded as it would have been stored.
  // The recurrence alone.
  const void* z = nullptr;
  const int64_t* past_ptr = nullptr;  // one number; null or 0: the state counts as zero, unread
  int64_t x_stride = 0, dt_stride = 0, b_stride = 0, c_stride = 0, out_stride = 0, z_stride = 0;
  int64_t batch = 0, length = 0;
  int32_t heads = 0, head_dim = 0, groups = 1, state_size = 0;
  float dt_min = 0, dt_max = 0;  // dt_max 0: unbounded
  DType dtype = DType::f32;
};

enum class SsdKernel { recurrence, blocks };
struct SsdChoice {
  SsdKernel kernel = SsdKernel::recurrence;
  int heads_per_block = 1;  // of `blocks`: warpgroups of a thread block, which share B and C
  int segments = 1;         // of `blocks`: parts of the sequence computed at once
};

inline constexpr int ssd_block_length = chunk_tokens;  // of `blocks`

// chunked: whether the plan asks for matrix products. They need bf16, a head_dim that is a multiple
// of 64, a state_size of 64, 128 or 256, and rows of x, b, c, out aligned to 16 bytes; all else
// takes the recurrence (state_size up to 256).
SsdChoice choose_ssd(const SsdArgs&, bool chunked, int sm_count);
std::string name(const SsdChoice&);
size_t ssd_workspace_bytes(const SsdArgs&, const SsdChoice&);
void launch_ssd(const SsdArgs&, const SsdChoice&, void* workspace, const Queue&);

}  // namespace tidemark::cuda
