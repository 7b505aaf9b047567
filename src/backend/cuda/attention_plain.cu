// Attention in fp32 arithmetic for any dtype, head size and window. Algorithm: one warp per query;
// 32 keys at a time, one per lane, give 32 scores; online softmax over them (Milakov and
// Gimelshein, arXiv 1805.02867); then the lanes turn to the value dimensions. Plain rather than
// fast: it is what fp32 runs and what the other kernels are checked against.
#include "backend/cuda/attention.h"
#include "backend/cuda/cache_ring.cuh"
#include "backend/cuda/mma.cuh"

namespace tidemark::cuda {
namespace {

constexpr int warps_per_block = 4;
constexpr int max_value_chunks = 16;  // value_dim up to 512

template <class T>
__global__ void __launch_bounds__(warps_per_block * 32) plain_kernel(AttentionArgs a) {
  extern __shared__ float shared[];
  let_next_start();
  wait_for_previous();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float* q = shared + warp * a.head_dim;
  const int t = blockIdx.x * warps_per_block + warp;
  const int head = blockIdx.y, b = blockIdx.z;
  if (t >= a.length) return;
  const int kv_head = head / (a.heads / a.kv_heads);
  const int64_t row = int64_t{b} * a.length + t;
  const T* q_row = static_cast<const T*>(a.q) + row * a.q_stride + int64_t{head} * a.head_dim;
  for (int d = lane; d < a.head_dim; d += 32) q[d] = to_float(q_row[d]) * a.scale * log2_e;
  __syncwarp();

  const int64_t past = *a.past;
  const int64_t position = past + t;
  const int64_t first = a.window > 0 && position - a.window + 1 > 0 ? position - a.window + 1 : 0;
  const int64_t cache_row0 = (int64_t{b} * a.kv_heads + kv_head) * a.capacity;
  const T *k = static_cast<const T*>(a.k), *v = static_cast<const T*>(a.v);
  const T* k_cache = static_cast<const T*>(a.k_cache) + cache_row0 * a.head_dim;
  const T* v_cache = static_cast<const T*>(a.v_cache) + cache_row0 * a.value_dim;
  const auto slot_of = [&](int64_t p) {
    return a.window > 0 ? ring_slot(p, a.capacity, a.sinks) : p;
  };
  // With a window, keys of this step are not in the ring yet.
  const auto k_row = [&](int64_t p) {
    return a.window > 0 && p >= past
               ? k + (int64_t{b} * a.length + p - past) * a.k_stride + int64_t{kv_head} * a.head_dim
               : k_cache + slot_of(p) * a.head_dim;
  };
  const auto v_row = [&](int64_t p) {
    return a.window > 0 && p >= past ? v + (int64_t{b} * a.length + p - past) * a.v_stride +
                                           int64_t{kv_head} * a.value_dim
                                     : v_cache + slot_of(p) * a.value_dim;
  };

  // Key i of those seen: the sinks that the window has left behind, then the window.
  const int64_t behind = min(first, a.sinks), keys = behind + position + 1 - first;
  const auto position_of = [&](int64_t i) { return i < behind ? i : first + i - behind; };
  float best = masked_score, total = 0, sum[max_value_chunks] = {};
  for (int64_t i0 = 0; i0 < keys; i0 += 32) {
    const bool seen = i0 + lane < keys;
    float score = masked_score;
    if (seen) {
      const T* key = k_row(position_of(i0 + lane));
      score = 0;
      for (int d = 0; d < a.head_dim; ++d) score = fmaf(q[d], to_float(key[d]), score);
    }
    const float new_best = fmaxf(best, lane_max(score));
    const float rescale = exp2f(best - new_best);
    const float weight = seen ? exp2f(score - new_best) : 0.0F;
    total = total * rescale + lane_sum(weight);
    best = new_best;
#pragma unroll
    for (int i = 0; i < max_value_chunks; ++i) sum[i] *= rescale;
    const int count = static_cast<int>(min(keys - i0, int64_t{32}));
    for (int j = 0; j < count; ++j) {
      const float w = __shfl_sync(0xffffffffu, weight, j);
      const T* value = v_row(position_of(i0 + j));
#pragma unroll
      for (int i = 0; i < max_value_chunks; ++i)
        if (i * 32 + lane < a.value_dim) sum[i] = fmaf(w, to_float(value[i * 32 + lane]), sum[i]);
    }
  }
  T* out = static_cast<T*>(a.out) + row * a.out_stride + int64_t{head} * a.value_dim;
#pragma unroll
  for (int i = 0; i < max_value_chunks; ++i)
    if (i * 32 + lane < a.value_dim) out[i * 32 + lane] = from_float<T>(sum[i] / total);
}

}  // namespace

void launch_attention_plain(const AttentionArgs& a, const Queue& queue) {
  if (a.value_dim > 32 * max_value_chunks || a.head_dim > 32 * max_value_chunks)
    check(cudaErrorNotSupported, "attention: a head of more than 512");
  const dim3 grid((a.length + warps_per_block - 1) / warps_per_block, a.heads, a.batch);
  const size_t shared_bytes = sizeof(float) * warps_per_block * a.head_dim;
  const auto kernel = a.dtype == DType::bf16 ? plain_kernel<bf16> : plain_kernel<float>;
  launch_kernel(kernel, grid, dim3(warps_per_block * 32), shared_bytes, queue, "attention", a);
}

}  // namespace tidemark::cuda
