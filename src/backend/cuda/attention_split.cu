// Decode attention: one query per sequence against a long cache, at memory speed. Algorithm
// (split-KV decoding, "Flash-Decoding", Dao et al. 2023):
//   1. the key range is cut into `splits` parts; a block of 4 warps takes one part of one KV head,
//   and
//      each warp strides it in tiles; every query head of that KV head shares the loads of K and V;
//   2. scores and values are tensor-core products with the query heads as the 16 rows. K and V go
//   from
//      memory to the operands without shared memory: a 16-byte load of a K row is four operand
//      words when the head dimension is permuted the same way in q, and V's pairs of keys are woven
//      together with byte permutes, the value dimension being permuted likewise;
//   3. keys of earlier steps do not depend on the kernels just before: the first tile is loaded
//   before the
//      wait for them;
//   4. online softmax per warp, merged over the warps in shared memory, then over the parts by a
//   second
//      small kernel.
// Limit: bytes of K and V over memory bandwidth. The grid is sized by the chip, not by the
// position; the parts are cut on the device from `past`, so that one captured launch serves every
// position.
#include <algorithm>

#include "backend/cuda/attention.h"
#include "backend/cuda/cache_ring.cuh"
#include "backend/cuda/mma.cuh"

namespace tidemark::cuda {
namespace {

constexpr int warps = 4;
constexpr int max_group = 16;  // query heads per KV head and pass: the rows of a tensor-core tile
constexpr int key_quantum = 32;

// How the keys [begin, end) that this token sees are cut: part i is [begin + i * size, ...) for i <
// used. Sinks that the window has left behind are counted on backwards from it: keys below
// `window_begin` stand for them.
struct Parts {
  int64_t begin, end, window_begin;
  int size, used;
};
__device__ inline Parts cut_keys(const AttentionArgs& a, int64_t past, int splits) {
  Parts parts;
  parts.window_begin = a.window > 0 && past - a.window + 1 > 0 ? past - a.window + 1 : 0;
  parts.begin = parts.window_begin - min(parts.window_begin, a.sinks);
  parts.end = past + 1;
  const int keys = static_cast<int>(parts.end - parts.begin);
  parts.size = ((keys + splits - 1) / splits + key_quantum - 1) / key_quantum * key_quantum;
  parts.used = (keys + parts.size - 1) / parts.size;
  return parts;
}

__device__ inline uint4 load16(const bf16* p) {
  return *reinterpret_cast<const uint4*>(p);
}

// Partial results: per (sequence, head, split) value_dim sums, then the maximum and the total.
template <int kHeadDim, int kValueDim>
__global__ void __launch_bounds__(warps * 32)
    split_kernel(AttentionArgs a, int splits, int groups_of_heads) {
  constexpr int keys = kHeadDim + kValueDim <= 128 ? 32 : 16;  // of a tile
  constexpr int k_blocks = kHeadDim / 32;
  constexpr int v_chunks = (kValueDim + 63) / 64;
  constexpr int dim_tiles = v_chunks * 8;
  let_next_start();
  // The position was set by the step's first kernel, which had ended before any other could start
  // (select.cu), and keys before it were written by earlier steps: neither needs the wait below.
  const int64_t past = *a.past;
  const int split = blockIdx.x;
  const int kv_head = blockIdx.y / groups_of_heads, head_pass = blockIdx.y % groups_of_heads;
  const int b = blockIdx.z;
  const Parts parts = cut_keys(a, past, splits);
  if (split >= parts.used) {  // merge_kernel does not read this part
    wait_for_previous();
    return;
  }
  const int64_t first = parts.begin + int64_t{split} * parts.size;
  const int64_t last = min(first + parts.size, parts.end);

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, c = lane % 4;
  const int group = a.heads / a.kv_heads;
  const int head0 = kv_head * group + head_pass * max_group;
  const int rows = min(group - head_pass * max_group, max_group);
  const int64_t cache_row0 = (int64_t{b} * a.kv_heads + kv_head) * a.capacity;
  const bf16* k_cache = static_cast<const bf16*>(a.k_cache) + cache_row0 * kHeadDim;
  const bf16* v_cache = static_cast<const bf16*>(a.v_cache) + cache_row0 * kValueDim;
  const bf16* k_fresh = static_cast<const bf16*>(a.k) + b * a.k_stride + kv_head * kHeadDim;
  const bf16* v_fresh = static_cast<const bf16*>(a.v) + b * a.v_stride + kv_head * kValueDim;
  // With a window, this step's key is not in the ring yet.
  const auto slot_of = [&](int64_t key) {
    return ring_slot(key < parts.window_begin ? key - parts.begin : key, a.capacity, a.sinks);
  };
  const auto k_row = [&](int64_t p) {
    if (a.window == 0) return k_cache + p * kHeadDim;
    return p == past ? k_fresh : k_cache + slot_of(p) * kHeadDim;
  };
  const auto v_row = [&](int64_t p) {
    if (a.window == 0) return v_cache + p * kValueDim;
    return p == past ? v_fresh : v_cache + slot_of(p) * kValueDim;
  };

  // Keys past the end repeat the last one and are masked out below.
  uint4 k_words[keys / 8][k_blocks], v_words[keys / 16][4][v_chunks];
  const auto load_tile = [&](int64_t p0) {
#pragma unroll
    for (int t = 0; t < keys / 8; ++t) {
      const bf16* row = k_row(min(p0 + t * 8 + g, last - 1));
#pragma unroll
      for (int i = 0; i < k_blocks; ++i) k_words[t][i] = load16(row + i * 32 + c * 8);
    }
#pragma unroll
    for (int t = 0; t < keys / 16; ++t)
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const bf16* row = v_row(min(p0 + t * 16 + c * 2 + r % 2 + r / 2 * 8, last - 1));
#pragma unroll
        for (int u = 0; u < v_chunks; ++u)
          v_words[t][r][u] =
              u * 64 + g * 8 < kValueDim ? load16(row + u * 64 + g * 8) : uint4{0, 0, 0, 0};
      }
  };
  int64_t p0 = first + warp * keys;
  const bool early = p0 + keys <= min(past, last);
  if (early) load_tile(p0);
  wait_for_previous();
  if (!early && p0 < last) load_tile(p0);

  const bf16* q = static_cast<const bf16*>(a.q) + b * a.q_stride;
  const auto q_words = [&](int row, int block) {
    if (row >= rows) return uint4{0, 0, 0, 0};
    return load16(q + int64_t{head0 + row} * kHeadDim + block * 32 + c * 8);
  };
  uint4 q_low[k_blocks], q_high[k_blocks];
#pragma unroll
  for (int i = 0; i < k_blocks; ++i) q_low[i] = q_words(g, i), q_high[i] = q_words(g + 8, i);

  const float scale = a.scale * log2_e;
  float best[2] = {masked_score, masked_score}, total[2] = {0, 0};
  float sum[dim_tiles][4] = {};
  while (p0 < last) {
    float score[keys / 8][4] = {};
#pragma unroll
    for (int t = 0; t < keys / 8; ++t)
#pragma unroll
      for (int i = 0; i < k_blocks; ++i) {
        const uint4 w = k_words[t][i];
        mma_bf16(score[t], q_low[i].x, q_high[i].x, q_low[i].y, q_high[i].y, w.x, w.y);
        mma_bf16(score[t], q_low[i].z, q_high[i].z, q_low[i].w, q_high[i].w, w.z, w.w);
      }
    float new_best[2] = {best[0], best[1]};
#pragma unroll
    for (int t = 0; t < keys / 8; ++t)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const bool seen = p0 + t * 8 + c * 2 + e % 2 < last;
        score[t][e] = seen ? score[t][e] * scale : masked_score;
        new_best[e / 2] = fmaxf(new_best[e / 2], score[t][e]);
      }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      new_best[h] = lane_max<4>(new_best[h]);
      const float rescale = exp2_fast(best[h] - new_best[h]);
      best[h] = new_best[h];
      total[h] *= rescale;
#pragma unroll
      for (int j = 0; j < dim_tiles; ++j) sum[j][h * 2] *= rescale, sum[j][h * 2 + 1] *= rescale;
    }
#pragma unroll
    for (int t = 0; t < keys / 8; ++t)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        score[t][e] = exp2_fast(score[t][e] - best[e / 2]);
        total[e / 2] += score[t][e];
      }
#pragma unroll
    for (int t = 0; t < keys / 16; ++t) {
      const uint32_t p_0 = pack_bf16(score[2 * t][0], score[2 * t][1]);
      const uint32_t p_1 = pack_bf16(score[2 * t][2], score[2 * t][3]);
      const uint32_t p_2 = pack_bf16(score[2 * t + 1][0], score[2 * t + 1][1]);
      const uint32_t p_3 = pack_bf16(score[2 * t + 1][2], score[2 * t + 1][3]);
#pragma unroll
      for (int u = 0; u < v_chunks; ++u) {
        const uint32_t* v0 = &v_words[t][0][u].x;
        const uint32_t* v1 = &v_words[t][1][u].x;
        const uint32_t* v2 = &v_words[t][2][u].x;
        const uint32_t* v3 = &v_words[t][3][u].x;
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          const uint32_t pick = j % 2 ? 0x7632 : 0x5410;
          mma_bf16(sum[u * 8 + j], p_0, p_1, p_2, p_3, __byte_perm(v0[j / 2], v1[j / 2], pick),
                   __byte_perm(v2[j / 2], v3[j / 2], pick));
        }
      }
    }
    p0 += warps * keys;
    if (p0 < last) load_tile(p0);
  }

  // Merge the warps. Column n of dimension tile j is dimension j / 8 * 64 + n * 8 + j % 8; shared
  // memory holds it at j * 8 + n, where the lanes' pairs of columns fall into different banks.
  constexpr int row_floats = v_chunks * 64 + 8;
  extern __shared__ float shared_sum[];  // [warps][max_group][row_floats]
  __shared__ float shared_best[warps][max_group], shared_total[warps][max_group];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    total[h] = lane_sum<4>(total[h]);
    if (c == 0) shared_best[warp][g + h * 8] = best[h], shared_total[warp][g + h * 8] = total[h];
    float* mine = shared_sum + (warp * max_group + g + h * 8) * row_floats + c * 2;
#pragma unroll
    for (int j = 0; j < dim_tiles; ++j)
      *reinterpret_cast<float2*>(mine + j * 8) = make_float2(sum[j][h * 2], sum[j][h * 2 + 1]);
  }
  __syncthreads();
  constexpr int record = kValueDim + 2;
  for (int i = threadIdx.x; i < rows * kValueDim; i += warps * 32) {
    const int row = i / kValueDim, dim = i % kValueDim;
    float top = masked_score;
#pragma unroll
    for (int w = 0; w < warps; ++w) top = fmaxf(top, shared_best[w][row]);
    const float* from = shared_sum + row * row_floats + dim / 64 * 64 + dim % 8 * 8 + dim % 64 / 8;
    float value = 0, weight_sum = 0;
#pragma unroll
    for (int w = 0; w < warps; ++w) {
      const float weight = exp2_fast(shared_best[w][row] - top);
      value = fmaf(from[w * max_group * row_floats], weight, value);
      weight_sum = fmaf(shared_total[w][row], weight, weight_sum);
    }
    float* part = a.workspace + ((int64_t{b} * a.heads + head0 + row) * splits + split) * record;
    part[dim] = value;
    if (dim == 0) part[kValueDim] = top, part[kValueDim + 1] = weight_sum;
  }
}

// One block per (head, sequence): out = sum over parts of 2^(m - M) * sum / sum over parts of 2^(m
// - M) * l.
constexpr int merge_threads = 256;
template <int kValueDim>
__global__ void __launch_bounds__(merge_threads) merge_kernel(AttentionArgs a, int splits) {
  let_next_start();
  constexpr int record = kValueDim + 2;
  constexpr int lanes = kValueDim / 2;  // two dimensions a thread: 8-byte loads
  constexpr int teams = merge_threads / lanes;
  const int used = cut_keys(a, *a.past, splits).used;  // parts past that were not written
  wait_for_previous();
  const int head = blockIdx.x, b = blockIdx.y;
  const float* parts = a.workspace + (int64_t{b} * a.heads + head) * splits * record;
  const int team = threadIdx.x / lanes, lane = threadIdx.x % lanes;
  float best = masked_score, total = 0, sum0 = 0, sum1 = 0;
  if (team < teams) {
#pragma unroll 4
    for (int s = team; s < used; s += teams) {
      const float* part = parts + int64_t{s} * record;
      const float2 value = *reinterpret_cast<const float2*>(part + lane * 2);
      const float2 state = *reinterpret_cast<const float2*>(part + kValueDim);
      const float new_best = fmaxf(best, state.x);
      const float keep = exp2_fast(best - new_best), weight = exp2_fast(state.x - new_best);
      best = new_best;
      total = total * keep + state.y * weight;
      sum0 = sum0 * keep + value.x * weight;
      sum1 = sum1 * keep + value.y * weight;
    }
  }
  __shared__ float shared[4][merge_threads];
  shared[0][threadIdx.x] = best, shared[1][threadIdx.x] = total;
  shared[2][threadIdx.x] = sum0, shared[3][threadIdx.x] = sum1;
  __syncthreads();
  if (threadIdx.x >= lanes) return;
  float top = masked_score;
#pragma unroll
  for (int i = 0; i < teams; ++i) top = fmaxf(top, shared[0][i * lanes + threadIdx.x]);
  total = sum0 = sum1 = 0;
#pragma unroll
  for (int i = 0; i < teams; ++i) {
    const int at = i * lanes + threadIdx.x;
    const float weight = exp2_fast(shared[0][at] - top);
    total += shared[1][at] * weight, sum0 += shared[2][at] * weight, sum1 += shared[3][at] * weight;
  }
  bf16* out =
      static_cast<bf16*>(a.out) + b * a.out_stride + int64_t{head} * kValueDim + threadIdx.x * 2;
  *reinterpret_cast<uint32_t*>(out) = pack_bf16(sum0 / total, sum1 / total);
}

template <int kHeadDim, int kValueDim>
void launch_dims(const AttentionArgs& a, int splits, const Queue& queue) {
  const int passes = (a.heads / a.kv_heads + max_group - 1) / max_group;
  constexpr size_t shared_bytes =
      sizeof(float) * warps * max_group * ((kValueDim + 63) / 64 * 64 + 8);
  const auto kernel = split_kernel<kHeadDim, kValueDim>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(shared_bytes)),
        "attention: shared memory");
  launch_kernel(kernel, dim3(splits, a.kv_heads * passes, a.batch), dim3(warps * 32), shared_bytes,
                queue, "attention", a, splits, passes);
  launch_kernel(merge_kernel<kValueDim>, dim3(a.heads, a.batch), dim3(merge_threads), 0, queue,
                "attention", a, splits);
}

}  // namespace

bool attention_split_supports(const AttentionArgs& a) {
  const bool dims =
      (a.head_dim == a.value_dim && (a.head_dim == 64 || a.head_dim == 96 || a.head_dim == 128 ||
                                     a.head_dim == 160 || a.head_dim == 256)) ||
      (a.head_dim == 64 && a.value_dim == 128);
  return a.dtype == DType::bf16 && a.length == 1 && dims && attention_rows_aligned(a);
}

int32_t attention_splits(const AttentionArgs& a, int sm_count) {
  const int64_t heads =
      int64_t{a.batch} * a.kv_heads * ((a.heads / a.kv_heads + max_group - 1) / max_group);
  // One block per multiprocessor for short caches, two for long ones: measured on an H200.
  const int64_t keys = a.window > 0 ? std::min(a.sinks + a.window, a.capacity) : a.capacity;
  const int64_t blocks = int64_t{sm_count} * (keys * heads >= 32768 ? 2 : 1);
  const int64_t by_chip = std::max<int64_t>(1, blocks / heads);
  const int64_t by_keys = std::max<int64_t>(1, (keys + 2 * key_quantum - 1) / (2 * key_quantum));
  return static_cast<int32_t>(std::min({by_chip, by_keys, int64_t{1024}}));
}

int64_t attention_split_workspace_bytes(const AttentionArgs& a, int32_t splits) {
  return int64_t{4} * a.batch * a.heads * splits * (a.value_dim + 2);
}

void launch_attention_split(const AttentionArgs& a, int32_t splits, const Queue& queue) {
  if (a.head_dim == 64 && a.value_dim == 128) return launch_dims<64, 128>(a, splits, queue);
  if (a.head_dim == 64) return launch_dims<64, 64>(a, splits, queue);
  if (a.head_dim == 96) return launch_dims<96, 96>(a, splits, queue);
  if (a.head_dim == 128) return launch_dims<128, 128>(a, splits, queue);
  if (a.head_dim == 160) return launch_dims<160, 160>(a, splits, queue);
  launch_dims<256, 256>(a, splits, queue);
}

}  // namespace tidemark::cuda
