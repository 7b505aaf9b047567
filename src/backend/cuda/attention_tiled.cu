// Prefill attention in bf16 on tensor cores (mma.sync). Algorithm: FlashAttention-2 (arXiv
// 2307.08691): a block owns a tile of queries of one head and walks the keys in tiles of 64,
// double-buffered in shared memory by asynchronous copies; scores and output stay in registers
// under an online softmax. Keys come from the cache by position, or with a window from the ring
// cache and, for this step's, from k and v; tiles that no query of the block sees are not visited;
// those of the sinks come before the window's.
// Limit: about half of what Hopper's own matrix instructions give, which is why full attention goes
// to cuDNN where that is present.
#include "backend/cuda/attention.h"
#include "backend/cuda/copy_async.cuh"
#include "backend/cuda/mma.cuh"

namespace tidemark::cuda {
namespace {

constexpr int warps = 4;

// Four 8 x 8 tiles of 16-bit elements; lane l gives the address of row l % 8 of tile l / 8.
__device__ inline void load_tiles(uint32_t (&r)[4], const bf16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row)));
}
__device__ inline void load_tiles_transposed(uint32_t (&r)[4], const bf16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row)));
}

// Rows of shared tiles are padded by 16 bytes: an odd number of 16-byte units a row keeps ldmatrix
// free of bank conflicts.
template <int kDim>
constexpr int padded = kDim + 8;

// tile_keys: keys of a tile. kTiles: 16-query tiles per warp. kSharedQueries: queries stay in
// shared memory, where registers do not hold them.
template <int kHeadDim, int kValueDim, int kTiles, int tile_keys, bool kSharedQueries>
__global__ void __launch_bounds__(warps * 32) tiled_kernel(AttentionArgs a) {
  constexpr int tile_queries = warps * kTiles * 16;
  extern __shared__ __align__(16) bf16 shared[];
  bf16* k_tiles = shared;  // [2][tile_keys][padded<kHeadDim>]
  bf16* v_tiles = shared + 2 * tile_keys * padded<kHeadDim>;
  bf16* q_tile = v_tiles + 2 * tile_keys * padded<kValueDim>;  // [tile_queries][padded<kHeadDim>]
  let_next_start();
  wait_for_previous();
  const int64_t past = *a.past;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, c = lane % 4;
  // The last queries see the most keys: they go first.
  const int t0 = (gridDim.x - 1 - blockIdx.x) * tile_queries;
  const int head = blockIdx.y, b = blockIdx.z;
  const int kv_head = head / (a.heads / a.kv_heads);
  const int64_t row0 = int64_t{b} * a.length;

  // Q as operand A, straight from memory: once per block.
  uint32_t q[kTiles][kSharedQueries ? 1 : kHeadDim / 16][4];
  if constexpr (kSharedQueries) {
    constexpr int units = kHeadDim / 8;
    for (int i = threadIdx.x; i < tile_queries * units; i += warps * 32) {
      const int t = min(t0 + i / units, a.length - 1);
      copy_async16(q_tile + i / units * padded<kHeadDim> + i % units * 8,
                   static_cast<const bf16*>(a.q) + (row0 + t) * a.q_stride +
                       int64_t{head} * kHeadDim + i % units * 8);
    }
  } else {
    const bf16* q_base = static_cast<const bf16*>(a.q) + int64_t{head} * kHeadDim;
#pragma unroll
    for (int m = 0; m < kTiles; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int t = min(t0 + (warp * kTiles + m) * 16 + g + h * 8, a.length - 1);
        const bf16* row = q_base + (row0 + t) * a.q_stride + c * 2;
#pragma unroll
        for (int i = 0; i < kHeadDim / 16; ++i) {
          q[m][i][h] = *reinterpret_cast<const uint32_t*>(row + i * 16);
          q[m][i][h + 2] = *reinterpret_cast<const uint32_t*>(row + i * 16 + 8);
        }
      }
  }

  const int64_t cache_row0 = (int64_t{b} * a.kv_heads + kv_head) * a.capacity;
  const bf16* k_cache = static_cast<const bf16*>(a.k_cache) + cache_row0 * kHeadDim;
  const bf16* v_cache = static_cast<const bf16*>(a.v_cache) + cache_row0 * kValueDim;
  const bf16* k_fresh = static_cast<const bf16*>(a.k) + row0 * a.k_stride + kv_head * kHeadDim;
  const bf16* v_fresh = static_cast<const bf16*>(a.v) + row0 * a.v_stride + kv_head * kValueDim;

  const int64_t first_position = past + t0;
  const int64_t last_position = past + min(t0 + tile_queries, a.length) - 1;
  int64_t first_key =
      a.window > 0 && first_position - a.window + 1 > 0 ? first_position - a.window + 1 : 0;
  first_key = first_key / tile_keys * tile_keys;
  const int sink_tiles = static_cast<int>((min(a.sinks, first_key) + tile_keys - 1) / tile_keys);
  const int tile_count = sink_tiles + static_cast<int>((last_position - first_key) / tile_keys) + 1;
  const auto first_of = [&](int tile) {
    return tile < sink_tiles ? int64_t{tile} * tile_keys
                             : first_key + int64_t{tile - sink_tiles} * tile_keys;
  };

  const auto copy_tile = [&](int tile, int stage) {
    const int64_t p0 = first_of(tile);
    // Past the sinks: the slot of the tile's first position in the ring.
    const int64_t past_sinks = max(p0, a.sinks);
    const auto ring_size = static_cast<uint32_t>(a.capacity - a.sinks);
    const uint32_t ring =
        a.window > 0 ? static_cast<uint32_t>((past_sinks - a.sinks) % ring_size) : 0;
    constexpr int k_units = kHeadDim / 8, v_units = kValueDim / 8;
    bf16* k_to = k_tiles + stage * tile_keys * padded<kHeadDim>;
    bf16* v_to = v_tiles + stage * tile_keys * padded<kValueDim>;
    // Rows past the last position repeat it; the mask hides them.
    const auto cache_row = [&](int r) -> int64_t {
      if (a.window == 0) return min(p0 + r, past + a.length - 1);
      if (p0 + r < a.sinks) return p0 + r;
      uint32_t slot = ring + static_cast<uint32_t>(p0 + r - past_sinks);
      while (slot >= ring_size) slot -= ring_size;
      return a.sinks + slot;
    };
    const auto fresh_row = [&](int r) -> int64_t {  // -1: in the cache
      if (a.window == 0 || p0 + r < past) return -1;
      return min(p0 + r - past, int64_t{a.length} - 1);
    };
#pragma unroll
    for (int i = threadIdx.x; i < tile_keys * k_units; i += warps * 32) {
      const int r = i / k_units, unit = i % k_units;
      const int64_t fresh = fresh_row(r);
      const bf16* from =
          fresh >= 0 ? k_fresh + fresh * a.k_stride : k_cache + cache_row(r) * kHeadDim;
      copy_async16(k_to + r * padded<kHeadDim> + unit * 8, from + unit * 8);
    }
#pragma unroll
    for (int i = threadIdx.x; i < tile_keys * v_units; i += warps * 32) {
      const int r = i / v_units, unit = i % v_units;
      const int64_t fresh = fresh_row(r);
      const bf16* from =
          fresh >= 0 ? v_fresh + fresh * a.v_stride : v_cache + cache_row(r) * kValueDim;
      copy_async16(v_to + r * padded<kValueDim> + unit * 8, from + unit * 8);
    }
  };

  const float scale = a.scale * log2_e;
  float best[kTiles][2], total[kTiles][2] = {}, sum[kTiles][kValueDim / 8][4] = {};
#pragma unroll
  for (int m = 0; m < kTiles; ++m) best[m][0] = best[m][1] = masked_score;

  copy_tile(0, 0);
  copy_commit();
  for (int tile = 0; tile < tile_count; ++tile) {
    const int stage = tile % 2;
    if (tile + 1 < tile_count) copy_tile(tile + 1, 1 - stage);
    copy_commit();
    copy_wait<1>();
    __syncthreads();
    const bf16* k_tile = k_tiles + stage * tile_keys * padded<kHeadDim>;
    const bf16* v_tile = v_tiles + stage * tile_keys * padded<kValueDim>;

    float score[kTiles][tile_keys / 8][4] = {};
#pragma unroll
    for (int i = 0; i < kHeadDim / 16; ++i) {
      const int at = kSharedQueries ? 0 : i;
      if constexpr (kSharedQueries) {
#pragma unroll
        for (int m = 0; m < kTiles; ++m)
          load_tiles(q[m][0], q_tile + ((warp * kTiles + m) * 16 + lane % 16) * padded<kHeadDim> +
                                  i * 16 + lane / 16 * 8);
      }
#pragma unroll
      for (int n = 0; n < tile_keys / 16; ++n) {
        uint32_t k[4];
        load_tiles(k, k_tile + (n * 16 + lane / 16 * 8 + lane % 8) * padded<kHeadDim> + i * 16 +
                          lane / 8 % 2 * 8);
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
          const uint32_t(&w)[4] = q[m][at];
          mma_bf16(score[m][2 * n], w[0], w[1], w[2], w[3], k[0], k[1]);
          mma_bf16(score[m][2 * n + 1], w[0], w[1], w[2], w[3], k[2], k[3]);
        }
      }
    }

    const int64_t p0 = first_of(tile);
    const bool masked =
        p0 + tile_keys - 1 > first_position || (a.window > 0 && p0 <= last_position - a.window);
    const int sinks = static_cast<int>(min(max(a.sinks - p0, int64_t{0}), int64_t{tile_keys}));
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
      float new_best[2] = {best[m][0], best[m][1]};
      const int64_t position0 = past + t0 + (warp * kTiles + m) * 16 + g;
      // Keys (low, high] of this tile are seen by row h, and of its sinks all up to high.
      int low[2], high[2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int64_t position = position0 + h * 8;
        high[h] = static_cast<int>(min(position - p0, int64_t{tile_keys}));
        low[h] = a.window > 0 ? static_cast<int>(max(position - a.window - p0, int64_t{-1})) : -1;
      }
#pragma unroll
      for (int n = 0; n < tile_keys / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          float s = score[m][n][e] * scale;
          if (masked) {
            const int key = n * 8 + c * 2 + e % 2;
            if (key > high[e / 2] || (key <= low[e / 2] && key >= sinks)) s = masked_score;
          }
          score[m][n][e] = s;
          new_best[e / 2] = fmaxf(new_best[e / 2], s);
        }
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        new_best[h] = lane_max<4>(new_best[h]);
        const float rescale = exp2_fast(best[m][h] - new_best[h]);
        best[m][h] = new_best[h];
        total[m][h] *= rescale;
#pragma unroll
        for (int j = 0; j < kValueDim / 8; ++j)
          sum[m][j][h * 2] *= rescale, sum[m][j][h * 2 + 1] *= rescale;
      }
      // A row that has seen no key yet has best = masked_score and would count masked keys as 1.
#pragma unroll
      for (int n = 0; n < tile_keys / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          float w = exp2_fast(score[m][n][e] - best[m][e / 2]);
          if (masked && score[m][n][e] == masked_score) w = 0;
          score[m][n][e] = w;
          total[m][e / 2] += w;
        }
    }
#pragma unroll
    for (int n = 0; n < tile_keys / 16; ++n) {
      uint32_t p[kTiles][4];
#pragma unroll
      for (int m = 0; m < kTiles; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          p[m][i] =
              pack_bf16(score[m][2 * n + i / 2][i % 2 * 2], score[m][2 * n + i / 2][i % 2 * 2 + 1]);
#pragma unroll
      for (int j = 0; j < kValueDim / 16; ++j) {
        uint32_t v[4];
        load_tiles_transposed(
            v, v_tile + (n * 16 + lane % 16) * padded<kValueDim> + j * 16 + lane / 16 * 8);
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
          mma_bf16(sum[m][2 * j], p[m][0], p[m][1], p[m][2], p[m][3], v[0], v[1]);
          mma_bf16(sum[m][2 * j + 1], p[m][0], p[m][1], p[m][2], p[m][3], v[2], v[3]);
        }
      }
    }
    __syncthreads();
  }

#pragma unroll
  for (int m = 0; m < kTiles; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float inverse = 1.0F / lane_sum<4>(total[m][h]);
      const int t = t0 + (warp * kTiles + m) * 16 + g + h * 8;
      if (t >= a.length) continue;
      bf16* out =
          static_cast<bf16*>(a.out) + (row0 + t) * a.out_stride + int64_t{head} * kValueDim + c * 2;
#pragma unroll
      for (int j = 0; j < kValueDim / 8; ++j)
        *reinterpret_cast<uint32_t*>(out + j * 8) =
            pack_bf16(sum[m][j][h * 2] * inverse, sum[m][j][h * 2 + 1] * inverse);
    }
}

template <int kHeadDim, int kValueDim, int kTiles, int tile_keys = 64, bool kSharedQueries = false>
void launch_dims(const AttentionArgs& a, const Queue& queue) {
  constexpr int tile_queries = warps * kTiles * 16;
  constexpr size_t shared_bytes =
      sizeof(bf16) * (2 * tile_keys *
                      (padded<kHeadDim> +
                       padded<kValueDim>)+(kSharedQueries ? tile_queries * padded<kHeadDim> : 0));
  const auto kernel = tiled_kernel<kHeadDim, kValueDim, kTiles, tile_keys, kSharedQueries>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(shared_bytes)),
        "attention: shared memory");
  launch_kernel(kernel, dim3((a.length + tile_queries - 1) / tile_queries, a.heads, a.batch),
                dim3(warps * 32), shared_bytes, queue, "attention", a);
}

}  // namespace

bool attention_tiled_supports(const AttentionArgs& a) {
  const bool dims =
      (a.head_dim == a.value_dim && (a.head_dim == 64 || a.head_dim == 96 || a.head_dim == 128 ||
                                     a.head_dim == 160 || a.head_dim == 256)) ||
      (a.head_dim == 64 && a.value_dim == 128);
  return a.dtype == DType::bf16 && dims && attention_rows_aligned(a);
}

void launch_attention_tiled(const AttentionArgs& a, const Queue& queue) {
  if (a.head_dim == 64 && a.value_dim == 128) return launch_dims<64, 128, 1>(a, queue);
  if (a.head_dim == 64) return launch_dims<64, 64, 2>(a, queue);
  if (a.head_dim == 96) return launch_dims<96, 96, 1>(a, queue);
  if (a.head_dim == 128) return launch_dims<128, 128, 1>(a, queue);
  if (a.head_dim == 160) return launch_dims<160, 160, 1>(a, queue);
  launch_dims<256, 256, 1, 32, true>(a, queue);
}

}  // namespace tidemark::cuda
