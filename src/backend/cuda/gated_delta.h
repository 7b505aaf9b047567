// Gated delta rule: a state of keys by values that forgets by a gate and is corrected towards every
// new value.
#pragma once

#include <cstdint>

#include "backend/cuda/queue.h"
#include "backend/cuda_plan.h"
#include "base/vocab.h"

namespace tidemark::cuda {

// q and k are l2-normalised per head, q also scaled by 1 / sqrt(key_dim); beta = sigmoid(b),
// g = -exp(a_log) softplus(a + dt_bias). With S the state [key_dim, value_dim]: S = exp(g) S;
// d = beta (v - k S); S = S + k d^T; out = q S. Key head of value head h: h / (value_heads /
// key_heads). Pointers are to device memory; strides are of rows, in elements; row b * length + t
// is token t of sequence b; operands have `dtype`, the state is fp32.
struct GatedDeltaArgs {
  const void *q = nullptr, *k = nullptr;            // [rows, key_heads * key_dim]
  const void* v = nullptr;                          // [rows, value_heads * value_dim]
  const void *a = nullptr, *b = nullptr;            // [rows, value_heads]
  const void *a_log = nullptr, *dt_bias = nullptr;  // [value_heads]
  float* state = nullptr;                           // [batch, value_heads, key_dim, value_dim]
  void* out = nullptr;                              // [rows, value_heads * value_dim]; not v
  const int64_t* past = nullptr;  // on the device; at 0 the state counts as zero and is not read
  int64_t q_stride = 0, k_stride = 0, v_stride = 0, a_stride = 0, b_stride = 0, out_stride = 0;
  int64_t batch = 0, length = 0;
  int32_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;
  float eps = 0;  // under the root of the l2 norm
  DType dtype = DType::f32;
};

inline constexpr int gated_delta_chunk = chunk_tokens;
// A step shorter than this is left to the recurrence.
inline constexpr int64_t gated_delta_chunked_min_length = 64;

// The recurrence (gated_delta.cu): any dtype and shape, key_dim up to 256.
void launch_gated_delta(const GatedDeltaArgs&, const Queue&);

// In chunks (gated_delta_chunked.cu): bf16, key_dim and value_dim 64 or 128, rows of q, k, v
// aligned to 16 bytes and of out to 4.
bool gated_delta_chunked_supports(const GatedDeltaArgs&);
int64_t gated_delta_chunked_workspace_bytes(const GatedDeltaArgs&);
void launch_gated_delta_chunked(const GatedDeltaArgs&, void* workspace, const Queue&);

}  // namespace tidemark::cuda
