// The small operators that depend on positions or move rows: embedding, RoPE, cache append,
// selection of the last row, argmax. `past` is read on the device.
#pragma once

#include <cstdint>

#include "backend/cuda/queue.h"
#include "base/vocab.h"

namespace tidemark::cuda {

struct EmbeddingArgs {
  const int32_t* ids = nullptr;     // [batch, ids_stride]
  const void* table = nullptr;      // [vocab, width]
  const void* positions = nullptr;  // [positions, width], added by position; or null
  void* out = nullptr;              // [batch * length, width]
  const int64_t* past = nullptr;
  int64_t positions_stride = 0, ids_stride = 0, table_stride = 0, out_stride = 0;
  int32_t batch = 0, length = 0, width = 0, vocab = 0;
  float scale = 1;
  DType dtype = DType::f32;
};
void launch_embedding(const EmbeddingArgs&, const Queue&);

inline constexpr int max_rotary_pairs = 128;

struct RopeArgs {
  void *q = nullptr,
       *k = nullptr;  // rotated in place; k, when there is a cache, there too; k may be null
  const void* v = nullptr;
  void *k_cache = nullptr, *v_cache = nullptr;  // [batch, kv_heads, capacity, dim], or null
  const int64_t* past = nullptr;
  int64_t q_stride = 0, k_stride = 0, v_stride = 0, capacity = 0;
  int32_t batch = 0, length = 0, heads = 0, kv_heads = 0, head_dim = 0, value_dim = 0, pairs = 0;
  float amplitude = 1;
  DType dtype = DType::f32;
  float inv_freq[max_rotary_pairs] = {};
};
void launch_rope(const RopeArgs&, const Queue&);

struct KvAppendArgs {
  const void *k = nullptr, *v = nullptr;
  void *k_cache = nullptr, *v_cache = nullptr;
  const int64_t* past = nullptr;
  int64_t k_stride = 0, v_stride = 0, capacity = 0, sinks = 0;
  int32_t batch = 0, length = 0, kv_heads = 0, head_dim = 0, value_dim = 0;
  DType dtype = DType::f32;
};
void launch_kv_append(const KvAppendArgs&, const Queue&);

struct SelectLastArgs {
  const void* x = nullptr;  // [batch * length, width]
  void* out = nullptr;      // [batch, width]
  int64_t x_stride = 0, out_stride = 0;
  int32_t batch = 0, length = 0, width = 0;
  DType dtype = DType::f32;
};
void launch_select_last(const SelectLastArgs&, const Queue&);

// One per sequence; zero before the first launch, left zero by every launch.
struct ArgmaxSlot {
  unsigned long long best = 0;  // ordered bits of the value, then the complement of its index
  unsigned int blocks_done = 0, padding = 0;
};

struct ArgmaxArgs {
  const float* logits = nullptr;  // the rows read: [batch], logits_stride apart
  int32_t* ids = nullptr;         // [batch, ids_stride]; column past + length is written
  ArgmaxSlot* slots = nullptr;    // [batch]
  const int64_t* past = nullptr;
  int64_t logits_stride = 0, ids_stride = 0;
  int32_t batch = 0, length = 0, vocab = 0;
};
void launch_argmax(const ArgmaxArgs&, const Queue&);

// What kernels read of a step's position.
struct StepPosition {
  int64_t* past = nullptr;
  int32_t* lengths = nullptr;  // [2][batch], for cuDNN: tokens of the step; past and them together
  int32_t batch = 0, length = 0;
};
void launch_set_position(const StepPosition&, int64_t past, const Queue&);

// What the kernels that run on the current device were compiled for: 90 for sm_90. Less than the
// device's where the driver translated them.
int code_version();

}  // namespace tidemark::cuda
