// Decode attention: one query per sequence against a long cache, at memory speed. Algorithm
// (split-KV decoding, "Flash-Decoding", Dao et al. 2023):
//   1. the key range is cut into parts; a block of 8 warps takes one part of one KV head, and each
//   warp
//      strides it in tiles of 16 keys; every query head of that KV head shares the loads of K and
//      V;
//   2. a warp keeps a ring of tiles coming by asynchronous copies. Keys of earlier steps do not
//   depend on
//      the kernels just before, so the first tiles leave before the wait for them;
//   3. scores and values are tensor-core products with the query heads as the 16 rows. Each lane
//   copies
//      exactly the 16-byte pieces that it needs as operands and reads them back itself: of a K row
//      a piece is four operand words when the head dimension is permuted the same way in q; V's
//      pairs of keys are woven together with byte permutes, the value dimension being permuted
//      likewise;
//   4. online softmax per warp, merged over the warps in shared memory; the last block of a KV head
//   to
//      finish merges the parts.
// Limit: bytes of K and V over memory bandwidth. The grid is sized by the chip, not by the
// position; the parts are cut on the device from `past`, so that one captured launch serves every
// position.
#include <algorithm>

#include "backend/cuda/attention.h"
#include "backend/cuda/copy_async.cuh"
#include "backend/cuda/mma.cuh"

namespace tidemark::cuda {
namespace {

constexpr int warps = 8, threads = warps * 32;
constexpr int max_group = 16;  // query heads per KV head and pass: the rows of a tensor-core tile
constexpr int tile_keys = 16;

// How the keys [begin, end) that this token sees are cut: part i is [begin + i * size, ...) for i <
// used.
struct Parts {
  int64_t begin, end;
  int size, used;
};
__device__ inline Parts cut_keys(const AttentionArgs& a, int64_t past, int splits) {
  Parts parts;
  parts.begin = a.window > 0 && past - a.window + 1 > 0 ? past - a.window + 1 : 0;
  parts.end = past + 1;
  const int keys = static_cast<int>(parts.end - parts.begin);
  constexpr int quantum = tile_keys * warps;
  parts.size = ((keys + splits - 1) / splits + quantum - 1) / quantum * quantum;
  parts.used = (keys + parts.size - 1) / parts.size;
  return parts;
}

__device__ inline uint4 load16(const bf16* p) {
  return *reinterpret_cast<const uint4*>(p);
}

template <int kHeadDim, int kValueDim>
struct Layout {
  static constexpr int k_blocks = kHeadDim / 32;          // 16-byte pieces of a K row per lane
  static constexpr int v_chunks = (kValueDim + 63) / 64;  // of a V row
  static constexpr int pieces = tile_keys / 8 * k_blocks + 4 * v_chunks;  // per lane and tile
  static constexpr int slots = pieces <= 8 ? 3 : 2;
  static constexpr int ring_bytes = warps * slots * pieces * 32 * 16;
  static constexpr int row_floats = v_chunks * 64 + 8;  // of the warps' sums in shared memory
  static constexpr int sums_bytes = warps * max_group * row_floats * 4;
  static constexpr int shared_bytes = ring_bytes > sums_bytes ? ring_bytes : sums_bytes;
  static constexpr int record =
      kValueDim + 4;  // a part's sums, its maximum and total; 16-byte rows
};

template <int kHeadDim, int kValueDim>
__global__ void __launch_bounds__(threads)
    split_kernel(AttentionArgs a, int splits, int groups_of_heads) {
  using L = Layout<kHeadDim, kValueDim>;
  constexpr int dim_tiles = L::v_chunks * 8;
  extern __shared__ uint4 shared[];  // the warps' rings; afterwards their sums
  __shared__ float shared_best[warps][max_group], shared_total[warps][max_group];
  __shared__ bool is_last;
  let_next_start();
  // The position was set by the step's first kernel, which had ended before any other could start
  // (select.cu), and keys before it were written by earlier steps: neither needs the wait below.
  const int64_t past = *a.past;
  const int split = blockIdx.x;
  const int kv_head = blockIdx.y / groups_of_heads, head_pass = blockIdx.y % groups_of_heads;
  const int b = blockIdx.z;
  const Parts parts = cut_keys(a, past, splits);
  if (split >= parts.used) {
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
  const auto k_row = [&](int64_t p) {
    if (a.window == 0) return k_cache + p * kHeadDim;
    return p == past ? k_fresh : k_cache + p % a.capacity * kHeadDim;
  };
  const auto v_row = [&](int64_t p) {
    if (a.window == 0) return v_cache + p * kValueDim;
    return p == past ? v_fresh : v_cache + p % a.capacity * kValueDim;
  };

  uint4* ring = shared + warp * L::slots * L::pieces * 32 + lane;
  const int64_t warp_first = first + warp * tile_keys;
  constexpr int tile_step = warps * tile_keys;
  // Keys past the end repeat the last one and are masked out below.
  const auto copy_tile = [&](int64_t p0, int slot) {
    uint4* to = ring + slot * L::pieces * 32;
    if (p0 < last) {
#pragma unroll
      for (int t = 0; t < tile_keys / 8; ++t) {
        const bf16* row = k_row(min(p0 + t * 8 + g, last - 1)) + c * 8;
#pragma unroll
        for (int i = 0; i < L::k_blocks; ++i)
          copy_async16(to + (t * L::k_blocks + i) * 32, row + i * 32);
      }
      to += tile_keys / 8 * L::k_blocks * 32;
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const bf16* row = v_row(min(p0 + c * 2 + r % 2 + r / 2 * 8, last - 1)) + g * 8;
#pragma unroll
        for (int u = 0; u < L::v_chunks; ++u)
          if (u * 64 + g * 8 < kValueDim)
            copy_async16(to + (r * L::v_chunks + u) * 32, row + u * 64);
      }
    }
    copy_commit();
  };
  int early = 0;  // tiles without this step's key
#pragma unroll
  for (int s = 0; s < L::slots; ++s)
    if (warp_first + s * tile_step + tile_keys <= past)
      copy_tile(warp_first + s * tile_step, s), early = s + 1;
  wait_for_previous();
#pragma unroll
  for (int s = 0; s < L::slots; ++s)
    if (s >= early) copy_tile(warp_first + s * tile_step, s);

  const bf16* q = static_cast<const bf16*>(a.q) + b * a.q_stride;
  const auto q_words = [&](int row, int block) {
    if (row >= rows) return uint4{0, 0, 0, 0};
    return load16(q + int64_t{head0 + row} * kHeadDim + block * 32 + c * 8);
  };
  uint4 q_low[L::k_blocks], q_high[L::k_blocks];
#pragma unroll
  for (int i = 0; i < L::k_blocks; ++i) q_low[i] = q_words(g, i), q_high[i] = q_words(g + 8, i);

  const float scale = a.scale * log2_e;
  float best[2] = {masked_score, masked_score}, total[2] = {0, 0};
  float sum[dim_tiles][4] = {};
  int slot = 0;
  for (int64_t p0 = warp_first; p0 < last; p0 += tile_step) {
    copy_wait<L::slots - 1>();
    const uint4* tile = ring + slot * L::pieces * 32;
    float score[2][4] = {};
#pragma unroll
    for (int t = 0; t < 2; ++t)
#pragma unroll
      for (int i = 0; i < L::k_blocks; ++i) {
        const uint4 w = tile[(t * L::k_blocks + i) * 32];
        mma_bf16(score[t], q_low[i].x, q_high[i].x, q_low[i].y, q_high[i].y, w.x, w.y);
        mma_bf16(score[t], q_low[i].z, q_high[i].z, q_low[i].w, q_high[i].w, w.z, w.w);
      }
    tile += 2 * L::k_blocks * 32;
    float new_best[2] = {best[0], best[1]};
#pragma unroll
    for (int t = 0; t < 2; ++t)
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
    for (int t = 0; t < 2; ++t)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        score[t][e] = exp2_fast(score[t][e] - best[e / 2]);
        total[e / 2] += score[t][e];
      }
    const uint32_t p_0 = pack_bf16(score[0][0], score[0][1]),
                   p_1 = pack_bf16(score[0][2], score[0][3]);
    const uint32_t p_2 = pack_bf16(score[1][0], score[1][1]),
                   p_3 = pack_bf16(score[1][2], score[1][3]);
#pragma unroll
    for (int u = 0; u < L::v_chunks; ++u) {
      const bool inside = u * 64 + g * 8 < kValueDim;
      uint4 v[4];
#pragma unroll
      for (int r = 0; r < 4; ++r)
        v[r] = inside ? tile[(r * L::v_chunks + u) * 32] : uint4{0, 0, 0, 0};
      const auto weave = [&](int j, uint32_t a0, uint32_t b0, uint32_t a1, uint32_t b1) {
        mma_bf16(sum[u * 8 + j], p_0, p_1, p_2, p_3, __byte_perm(a0, b0, 0x5410),
                 __byte_perm(a1, b1, 0x5410));
        mma_bf16(sum[u * 8 + j + 1], p_0, p_1, p_2, p_3, __byte_perm(a0, b0, 0x7632),
                 __byte_perm(a1, b1, 0x7632));
      };
      weave(0, v[0].x, v[1].x, v[2].x, v[3].x);
      weave(2, v[0].y, v[1].y, v[2].y, v[3].y);
      weave(4, v[0].z, v[1].z, v[2].z, v[3].z);
      weave(6, v[0].w, v[1].w, v[2].w, v[3].w);
    }
    copy_tile(p0 + L::slots * tile_step, slot);
    slot = slot + 1 == L::slots ? 0 : slot + 1;
  }
  copy_wait<0>();
  __syncthreads();  // the rings' memory now holds the sums

  // Merge the warps. Column n of dimension tile j is dimension j / 8 * 64 + n * 8 + j % 8; shared
  // memory holds it at j * 8 + n, where the lanes' pairs of columns fall into different banks.
  float* sums = reinterpret_cast<float*>(shared);  // [warps][max_group][row_floats]
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    total[h] = lane_sum<4>(total[h]);
    if (c == 0) shared_best[warp][g + h * 8] = best[h], shared_total[warp][g + h * 8] = total[h];
    if (g + h * 8 >= rows) continue;
    float* mine = sums + (warp * max_group + g + h * 8) * L::row_floats + c * 2;
#pragma unroll
    for (int j = 0; j < dim_tiles; ++j)
      *reinterpret_cast<float2*>(mine + j * 8) = make_float2(sum[j][h * 2], sum[j][h * 2 + 1]);
  }
  __syncthreads();
  float* part0 = a.workspace + (int64_t{b} * a.heads + head0) * splits * L::record;
  bf16* out = static_cast<bf16*>(a.out) + b * a.out_stride + int64_t{head0} * kValueDim;
  for (int i = threadIdx.x; i < rows * kValueDim; i += threads) {
    const int row = i / kValueDim, dim = i % kValueDim;
    float top = masked_score;
#pragma unroll
    for (int w = 0; w < warps; ++w) top = fmaxf(top, shared_best[w][row]);
    const float* from = sums + row * L::row_floats + dim / 64 * 64 + dim % 8 * 8 + dim % 64 / 8;
    float value = 0, weight_sum = 0;
#pragma unroll
    for (int w = 0; w < warps; ++w) {
      const float weight = exp2_fast(shared_best[w][row] - top);
      value = fmaf(from[w * max_group * L::row_floats], weight, value);
      weight_sum = fmaf(shared_total[w][row], weight, weight_sum);
    }
    if (parts.used == 1) {
      out[i] = from_float<bf16>(value / weight_sum);
      continue;
    }
    float* part = part0 + (int64_t{row} * splits + split) * L::record;
    part[dim] = value;
    if (dim == 0) part[kValueDim] = top, part[kValueDim + 1] = weight_sum;
  }
  if (parts.used == 1) return;

  // The last block merges the parts: four dimensions a thread.
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    unsigned int* ticket = a.tickets + int64_t{b} * gridDim.y + blockIdx.y;
    is_last = atomicAdd(ticket, 1u) == static_cast<unsigned int>(parts.used) - 1;
    if (is_last) *ticket = 0;
  }
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  constexpr int lanes = kValueDim / 4;
  constexpr int teams = threads / lanes;  // that share a head's parts
  const int team = threadIdx.x / lanes, team_lane = threadIdx.x % lanes;
  const int heads_at_once = max(1, teams / 4), team_of_head = team / heads_at_once;
  const int teams_per_head = teams / heads_at_once;
  float* merged = sums;  // [teams][lanes][4 + 2]
  for (int row0 = 0; row0 < rows; row0 += heads_at_once) {
    const int row = row0 + team % heads_at_once;
    const bool mine = row < rows && team_of_head < teams_per_head;
    float top = masked_score, weight_sum = 0;
    float4 value = {0, 0, 0, 0};
    if (mine) {
      const float* from = part0 + int64_t{row} * splits * L::record;
#pragma unroll 8
      for (int s = team_of_head; s < parts.used; s += teams_per_head) {
        const float4 piece =
            __ldcg(reinterpret_cast<const float4*>(from + s * L::record) + team_lane);
        const float2 state =
            __ldcg(reinterpret_cast<const float2*>(from + s * L::record + kValueDim));
        const float new_top = fmaxf(top, state.x);
        const float keep = exp2_fast(top - new_top), weight = exp2_fast(state.x - new_top);
        top = new_top;
        weight_sum = weight_sum * keep + state.y * weight;
        value.x = value.x * keep + piece.x * weight, value.y = value.y * keep + piece.y * weight;
        value.z = value.z * keep + piece.z * weight, value.w = value.w * keep + piece.w * weight;
      }
    }
    __syncthreads();
    if (team < teams) {
      float* mine_at = merged + threadIdx.x * 6;
      mine_at[0] = value.x, mine_at[1] = value.y, mine_at[2] = value.z, mine_at[3] = value.w;
      mine_at[4] = top, mine_at[5] = weight_sum;
    }
    __syncthreads();
    if (mine && team_of_head == 0) {
      float all_top = masked_score;
      for (int t = 0; t < teams_per_head; ++t)
        all_top = fmaxf(all_top, merged[(threadIdx.x + t * heads_at_once * lanes) * 6 + 4]);
      float result[4] = {}, all_sum = 0;
      for (int t = 0; t < teams_per_head; ++t) {
        const float* other = merged + (threadIdx.x + t * heads_at_once * lanes) * 6;
        const float weight = exp2_fast(other[4] - all_top);
        all_sum = fmaf(other[5], weight, all_sum);
#pragma unroll
        for (int j = 0; j < 4; ++j) result[j] = fmaf(other[j], weight, result[j]);
      }
      auto* to = reinterpret_cast<uint32_t*>(out + int64_t{row} * kValueDim + team_lane * 4);
      to[0] = pack_bf16(result[0] / all_sum, result[1] / all_sum);
      to[1] = pack_bf16(result[2] / all_sum, result[3] / all_sum);
    }
  }
}

template <int kHeadDim, int kValueDim>
void launch_dims(const AttentionArgs& a, int splits, const Queue& queue) {
  const int passes = (a.heads / a.kv_heads + max_group - 1) / max_group;
  constexpr int shared_bytes = Layout<kHeadDim, kValueDim>::shared_bytes;
  const auto kernel = split_kernel<kHeadDim, kValueDim>;
  static const cudaError_t allowed =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  check(allowed, "attention: shared memory");
  launch_kernel(kernel, dim3(splits, a.kv_heads * passes, a.batch), dim3(threads), shared_bytes,
                queue, "attention", a, splits, passes);
}

}  // namespace

bool attention_split_supports(const AttentionArgs& a) {
  const bool dims = (a.head_dim == a.value_dim && (a.head_dim == 64 || a.head_dim == 96 ||
                                                   a.head_dim == 128 || a.head_dim == 256)) ||
                    (a.head_dim == 64 && a.value_dim == 128);
  return a.dtype == DType::bf16 && a.length == 1 && dims && attention_rows_aligned(a) &&
         int64_t{a.batch} * a.heads <= max_attention_tickets;
}

int32_t attention_splits(const AttentionArgs& a, int sm_count) {
  const int64_t heads =
      int64_t{a.batch} * a.kv_heads * ((a.heads / a.kv_heads + max_group - 1) / max_group);
  // Few parts for short caches: their loads are hidden behind the kernels before, their merge is
  // not.
  const int64_t keys = a.window > 0 ? std::min(a.window, a.capacity) : a.capacity;
  const int64_t blocks = int64_t{sm_count} * (keys > 32768 ? 2 : 1);
  const int64_t by_chip = std::max<int64_t>(1, blocks / heads);
  const int64_t by_keys = std::max<int64_t>(1, (keys + 255) / 256);
  return static_cast<int32_t>(std::min({by_chip, by_keys, int64_t{1024}}));
}

int64_t attention_split_workspace_bytes(const AttentionArgs& a, int32_t splits) {
  return splits == 1 ? 0 : int64_t{4} * a.batch * a.heads * splits * (a.value_dim + 4);
}

void launch_attention_split(const AttentionArgs& a, int32_t splits, const Queue& queue) {
  if (a.head_dim == 64 && a.value_dim == 128) return launch_dims<64, 128>(a, splits, queue);
  if (a.head_dim == 64) return launch_dims<64, 64>(a, splits, queue);
  if (a.head_dim == 96) return launch_dims<96, 96>(a, splits, queue);
  if (a.head_dim == 128) return launch_dims<128, 128>(a, splits, queue);
  launch_dims<256, 256>(a, splits, queue);
}

}  // namespace tidemark::cuda
