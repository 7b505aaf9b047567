// Causal grouped-query attention on the GPU: four implementations of one operator.
//   attention_cudnn.cpp    prefill, bf16, full attention: cuDNN's fused kernel
//   attention_tiled.cu     prefill, bf16, tensor cores: windows, value heads of another width, no
//   cuDNN attention_split.cu     decode, bf16: the cache split over the chip, at memory speed
//   attention_plain.cu     any dtype and shape, fp32 arithmetic
#pragma once

#include <cstdint>

#include "backend/cuda/queue.h"
#include "base/vocab.h"

namespace tidemark::cuda {

// As ops.h says of Attention; past is read on the device, so that one captured graph serves every
// position. Cache [batch, kv_heads, capacity, dim]; rows of q, k, v, out b * length + t.
struct AttentionArgs {
  const void *q = nullptr, *k = nullptr, *v = nullptr;
  const void *k_cache = nullptr, *v_cache = nullptr;
  void* out = nullptr;
  int64_t q_stride = 0, k_stride = 0, v_stride = 0, out_stride = 0;
  const int64_t* past = nullptr;
  int64_t exact_past = -1;  // for cuDNN: the position, where the launch need not serve any other
  int64_t capacity = 0, window = 0;  // window 0: all positions, and every key is in the cache
  int64_t sinks = 0;  // of a window: the first positions, seen for ever and never overwritten
  int32_t batch = 0, length = 0, heads = 0, kv_heads = 0, head_dim = 0, value_dim = 0;
  float scale = 1;
  DType dtype = DType::f32;
  float* workspace = nullptr;
};

// Whether rows of q, k, v and the caches can be read 16 bytes at a time and out written 4 at a
// time.
bool attention_rows_aligned(const AttentionArgs&);

void launch_attention_plain(const AttentionArgs&, const Queue&);

// bf16 and the head sizes that are compiled in; rows 16-byte aligned.
bool attention_tiled_supports(const AttentionArgs&);
void launch_attention_tiled(const AttentionArgs&, const Queue&);

// The same, for length 1. `splits` parts of the key range run at once; their partial results take
// attention_split_workspace_bytes().
bool attention_split_supports(const AttentionArgs&);
int32_t attention_splits(const AttentionArgs&, int sm_count);
int64_t attention_split_workspace_bytes(const AttentionArgs&, int32_t splits);
void launch_attention_split(const AttentionArgs&, int32_t splits, const Queue&);

}  // namespace tidemark::cuda
