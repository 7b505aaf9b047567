// Gated delta rule in chunks of 64 tokens on tensor cores: the WY form (arXiv 2406.06484, section
// 3; with the gate arXiv 2412.06464, section 3.3). With K, Q a chunk's unit keys and scaled unit
// queries, G the running sum of g, S the state before, and
//   L_ij = beta_i e^(G_i - G_j) (k_i . k_j), j < i;   T = (I + L)^-1 diag(beta):
//   D = U - W S,   U = T V,   W = T diag(e^G) K
//   Y = diag(e^G) Q S + A D,   A_ij = e^(G_i - G_j) (q_i . k_j), j <= i
//   S = e^(G_last) S + (diag(e^(G_last - G)) K)^T D
// Algorithm:
//   1. prepare_kernel, a block per chunk and value head: all that does not need S, that is A, U, W
//      and the two scaled copies of Q and K. Of the triangle, the 16 x 16 blocks on the diagonal
//      are inverted in fp32, a column per thread; a warp per column of blocks does the rest from
//      the top down: (I + L)^-1_ij = -(I + L)^-1_ii sum_k L_ik (I + L)^-1_kj;
//   2. scan_kernel, a block per 64 columns of a head's state, walks the chunks: S stays in fp32
//      registers, a bf16 copy of it is an operand; the next chunk's tiles arrive meanwhile.
//   They take turns on groups of chunks, so that what 1 leaves for 2 stays small, and in the L2.
// Limits: 2 is a chain of two products and two barriers per chunk on as many multiprocessors as
// there are heads times 64 columns. Rounded to bf16 on the way: all operands; sums are fp32.
#include <algorithm>

#include "backend/cuda/gated_delta.h"
#include "backend/cuda/mma.cuh"
#include "backend/cuda/tile.cuh"
#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {
namespace {

constexpr int chunk = gated_delta_chunk, threads = 128;
constexpr unsigned all_lanes = 0xffffffffu;

// What a chunk of a value head leaves in the workspace: panels as they will lie in shared memory.
// kKeys, kValues: panels of 64 columns of keys and values.
template <int kKeys, int kValues>
struct Panels {
  static constexpr int w = 0, q = kKeys, k = 2 * kKeys, a = 3 * kKeys, u = 3 * kKeys + 1;
  static constexpr int count = 3 * kKeys + 1 + kValues;
};

struct Group {
  char* panels = nullptr;   // [chunks][batch][heads][Panels::count]
  float* decays = nullptr;  // [chunks][batch][heads]: log2 of a chunk's whole decay
  int64_t begin = 0;        // its first token
  int chunks = 0;
};

__device__ inline int64_t unit_of(const GatedDeltaArgs& a, int c) {
  return (int64_t{c} * a.batch + blockIdx.z) * a.value_heads + blockIdx.y;
}
__device__ inline char* align_1024(char* p) {
  return p + (1024 - (shared_address(p) & 1023)) % 1024;
}

// Element (row, column) of entry e of a warpgroup's 64 x 64 accumulator.
struct Entry {
  int row, column;
};
__device__ inline Entry entry(int e) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  return {16 * warp + lane / 4 + e % 4 / 2 * 8, e / 4 * 8 + lane % 4 * 2 + e % 2};
}

// Writes an accumulator as a panel of bf16 in global memory.
__device__ inline void store_panel(char* panel, const float (&acc)[32]) {
#pragma unroll
  for (int e = 0; e < 32; e += 2) {
    const Entry at = entry(e);
    *reinterpret_cast<uint32_t*>(panel + swizzled(at.row, at.column / 8) + at.column % 8 * 2) =
        pack_bf16(acc[e], acc[e + 1]);
  }
}
__device__ inline void clear(float (&acc)[32]) {
#pragma unroll
  for (int e = 0; e < 32; ++e) acc[e] = 0;
}
// A 64 x 64 panel as the left operand of a product, this warp's rows.
__device__ inline void load_left(uint32_t (&fragments)[4][4], uint32_t panel) {
#pragma unroll
  for (int k = 0; k < 4; ++k)
    load_matrix(fragments[k], tile_pair_address(panel, 16 * (threadIdx.x / 32), 2 * k));
}
// The same of its transpose.
__device__ inline void load_left_transposed(uint32_t (&fragments)[4][4], uint32_t panel) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < 4; ++k)
    load_matrix_transposed(
        fragments[k], panel + swizzled(16 * k + lane % 8 + lane / 16 * 8, 2 * warp + lane / 8 % 2));
}

// -------------------------------------------------------------------------------------- prepare

// Unit rows of q or k, times `scale`, into panels of shared memory; rows past the end are zeros.
template <int kKeys>
__device__ inline void load_unit_rows(const bf16* from, int64_t stride, int rows, float eps,
                                      float scale, char* panels) {
  constexpr int pieces = 8 * kKeys, at_once = 32 / pieces;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, piece = lane % pieces;
  constexpr int count = 16 / at_once;
  uint4 words[count];
#pragma unroll
  for (int i = 0; i < count; ++i) {
    const int row = 16 * warp + i * at_once + lane / pieces;
    words[i] = row < rows ? *reinterpret_cast<const uint4*>(from + row * stride + piece * 8)
                          : uint4{0, 0, 0, 0};
  }
#pragma unroll
  for (int i = 0; i < count; ++i) {
    const int row = 16 * warp + i * at_once + lane / pieces;
    uint32_t* const w = &words[i].x;
    float squares = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      squares = fmaf(low_half(w[j]), low_half(w[j]), squares);
      squares = fmaf(high_half(w[j]), high_half(w[j]), squares);
    }
    const float factor = rsqrtf(lane_sum<pieces>(squares) + eps) * scale;
#pragma unroll
    for (int j = 0; j < 4; ++j) w[j] = pack_bf16(low_half(w[j]) * factor, high_half(w[j]) * factor);
    *reinterpret_cast<uint4*>(panels + piece / 8 * panel_bytes + swizzled(row, piece % 8)) =
        words[i];
  }
}

// Panels of shared memory, their rows times row_factor[row], to panels of global memory.
template <int kKeys>
__device__ inline void store_scaled(const char* from, const float* row_factor, char* to) {
#pragma unroll 4
  for (int i = threadIdx.x; i < kKeys * panel_bytes / 16; i += threads) {
    const float factor = row_factor[i % (panel_bytes / 16) / 8];  // 8 pieces a row
    uint4 words = *reinterpret_cast<const uint4*>(from + i * 16);
    uint32_t* const w = &words.x;
#pragma unroll
    for (int j = 0; j < 4; ++j) w[j] = pack_bf16(low_half(w[j]) * factor, high_half(w[j]) * factor);
    *reinterpret_cast<uint4*>(to + i * 16) = words;
  }
}

// Of a warp: the inverse of the 16 x 16 block of I + L on its rows, from L in fp32 to bf16 in the
// panel `inverse`; and zeros above it.
__device__ inline void invert_diagonal(const float* block, char* inverse) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (lane < 16) {
    float t[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      float sum[2] = {};
#pragma unroll
      for (int m = 0; m < i; ++m) sum[m % 2] = fmaf(block[i * 16 + m], t[m], sum[m % 2]);
      t[i] = (i == lane ? 1.0F : 0.0F) - (sum[0] + sum[1]);
    }
    const int column = 16 * warp + lane;
    const auto put = [&](int row, float x) {
      *reinterpret_cast<bf16*>(inverse + swizzled(row, column / 8) + column % 8 * 2) =
          from_float<bf16>(x);
    };
#pragma unroll
    for (int i = 0; i < 16; ++i) put(16 * warp + i, t[i]);
    for (int row = 0; row < 16 * warp; ++row) put(row, 0);
  }
}

// Of a warp: the blocks below the diagonal of its 16 columns.
__device__ inline void invert_below(uint32_t lower, uint32_t inverse) {
  const int j = threadIdx.x / 32, lane = threadIdx.x % 32;
  const auto multiply = [&](float(&acc)[2][4], uint32_t left, int i, int k, int row) {
    uint32_t x[4], y[4];
    load_matrix(x, tile_pair_address(left, 16 * i, 2 * k));
    load_matrix_transposed(y, inverse + swizzled(16 * row + lane % 16, 2 * j + lane / 16));
    mma_bf16(acc[0], x[0], x[1], x[2], x[3], y[0], y[1]);
    mma_bf16(acc[1], x[0], x[1], x[2], x[3], y[2], y[3]);
  };
  const auto store = [&](int i, const float(&acc)[2][4], float sign) {
    const uint32_t words[4] = {pack_bf16(sign * acc[0][0], sign * acc[0][1]),
                               pack_bf16(sign * acc[0][2], sign * acc[0][3]),
                               pack_bf16(sign * acc[1][0], sign * acc[1][1]),
                               pack_bf16(sign * acc[1][2], sign * acc[1][3])};
    __syncwarp();  // what it overwrites has been read
    store_tile_pair(inverse, 16 * i, 2 * j, words);
    __syncwarp();
  };
  for (int i = j + 1; i < 4; ++i) {
    float sum[2][4] = {}, result[2][4] = {};
    for (int k = j; k < i; ++k) multiply(sum, lower, i, k, k);
    store(i, sum, 1.0F);
    multiply(result, inverse, i, i, i);
    store(i, result, -1.0F);
  }
}

// A panel as the left operand of a product, its columns times column_factor[column].
__device__ inline void load_left_scaled(uint32_t (&fragments)[4][4], uint32_t panel,
                                        const float* column_factor) {
  load_left(fragments, panel);
#pragma unroll
  for (int k = 0; k < 4; ++k)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* const factor = column_factor + 16 * k + i / 2 * 8 + threadIdx.x % 4 * 2;
      fragments[k][i] =
          pack_bf16(low_half(fragments[k][i]) * factor[0], high_half(fragments[k][i]) * factor[1]);
    }
}

template <int kKeys, int kValues>
constexpr int prepare_bytes = 1024 + (2 * kKeys + kValues + 2) * panel_bytes;

// Block x: chunk of the group; block y: value head; block z: sequence.
template <int kKeys, int kValues>
__global__ void __launch_bounds__(threads) prepare_kernel(GatedDeltaArgs a, Group group) {
  using P = Panels<kKeys, kValues>;
  extern __shared__ char dynamic[];
  char* const base = align_1024(dynamic);
  char* const q = base;
  char* const k = q + kKeys * panel_bytes;
  char* const v = k + kKeys * panel_bytes;
  char* const lower = v + kValues * panel_bytes;  // L
  char* const inverse = lower + panel_bytes;      // (I + L)^-1
  __shared__ float sums[chunk], betas[chunk], from_start[chunk], to_end[chunk], decayed[chunk];
  __shared__ float diagonal[4][16 * 16];  // blocks of L
  const int thread = threadIdx.x;
  const int head = blockIdx.y, key_head = head / (a.value_heads / a.key_heads);
  const float slope = -expf(to_float(static_cast<const bf16*>(a.a_log)[head])) * log2_e;
  const float dt_bias = to_float(static_cast<const bf16*>(a.dt_bias)[head]);
  let_next_start();
  wait_for_previous();

  const int64_t t0 = group.begin + int64_t{blockIdx.x} * chunk;
  const int64_t row0 = blockIdx.z * a.length + t0;
  const int rows = static_cast<int>(min(a.length - t0, int64_t{chunk}));
  {
    const auto* from = static_cast<const bf16*>(a.v) + row0 * a.v_stride + head * a.value_dim;
    constexpr int pieces = 8 * kValues;
#pragma unroll
    for (int i = thread; i < chunk * pieces; i += threads) {
      const int row = i / pieces, piece = i % pieces;
      const bool valid = row < rows;
      copy_async(shared_address(v) + piece / 8 * panel_bytes + swizzled(row, piece % 8),
                 valid ? from + row * a.v_stride + piece * 8 : from, valid);
    }
    commit_copies();
  }
  float g = 0, beta = 0;
  if (thread < rows) {
    const int64_t row = row0 + thread;
    const float x = to_float(static_cast<const bf16*>(a.a)[row * a.a_stride + head]) + dt_bias;
    g = slope * softplus<float>(x);
    beta = sigmoid(to_float(static_cast<const bf16*>(a.b)[row * a.b_stride + head]));
  }
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const float other = __shfl_up_sync(all_lanes, g, step);
    if (thread % 32 >= step) g += other;
  }
  if (thread < chunk) sums[thread] = g, betas[thread] = beta;
  load_unit_rows<kKeys>(static_cast<const bf16*>(a.q) + row0 * a.q_stride + key_head * a.key_dim,
                        a.q_stride, rows, a.eps, rsqrtf(static_cast<float>(a.key_dim)), q);
  load_unit_rows<kKeys>(static_cast<const bf16*>(a.k) + row0 * a.k_stride + key_head * a.key_dim,
                        a.k_stride, rows, a.eps, 1.0F, k);
  fence_for_products();
  __syncthreads();
  const float first_half = sums[31];
  __syncthreads();
  if (thread >= 32 && thread < chunk) sums[thread] += first_half;
  __syncthreads();
  const float last = sums[chunk - 1];
  if (thread < chunk) {
    from_start[thread] = exp2_fast(sums[thread]);
    decayed[thread] = betas[thread] * from_start[thread];
    to_end[thread] = exp2_fast(last - sums[thread]);
  }
  const int64_t unit = unit_of(a, blockIdx.x);
  char* const out = group.panels + unit * (P::count * panel_bytes);
  if (thread == 0) group.decays[unit] = last;

  float kk[32], qk[32];
  begin_products();
  add_product<false>(kk, shared_address(k), shared_address(k));
  add_product<false>(qk, shared_address(q), shared_address(k));
  if constexpr (kKeys == 2) {
    add_product<true>(kk, shared_address(k) + panel_bytes, shared_address(k) + panel_bytes);
    add_product<true>(qk, shared_address(q) + panel_bytes, shared_address(k) + panel_bytes);
  }
  commit_products();
  wait_products<0>();
  pin(kk), pin(qk);
  const int warp = thread / 32;
#pragma unroll
  for (int e = 0; e < 32; ++e) {
    const Entry at = entry(e);
    const float decay = exp2_fast(sums[at.row] - sums[at.column]);
    kk[e] = at.column < at.row ? betas[at.row] * decay * kk[e] : 0.0F;
    qk[e] = at.column <= at.row ? decay * qk[e] : 0.0F;
    if (at.column / 16 == warp) diagonal[warp][at.row % 16 * 16 + at.column % 16] = kk[e];
  }
#pragma unroll
  for (int t = 0; t < 8; t += 2) {
    const float* const x = kk + 4 * t;
    const uint32_t words[4] = {pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]),
                               pack_bf16(x[6], x[7])};
    store_tile_pair(shared_address(lower), 16 * warp, t, words);
  }
  __syncwarp();
  invert_diagonal(diagonal[warp], inverse);
  store_panel(out + P::a * panel_bytes, qk);
  __syncthreads();
  invert_below(shared_address(lower), shared_address(inverse));
  store_scaled<kKeys>(q, from_start, out + P::q * panel_bytes);
  store_scaled<kKeys>(k, to_end, out + P::k * panel_bytes);
  wait_copies<0>();
  fence_for_products();
  __syncthreads();
  uint32_t left[4][4];
  load_left_scaled(left, shared_address(inverse), betas);
#pragma unroll
  for (int p = 0; p < kValues; ++p) {
    clear(kk);
    begin_products();
    add_product(kk, left, shared_address(v) + p * panel_bytes);
    commit_products();
    wait_products<0>();
    pin(kk);
    store_panel(out + (P::u + p) * panel_bytes, kk);
  }
  load_left_scaled(left, shared_address(inverse), decayed);
#pragma unroll
  for (int p = 0; p < kKeys; ++p) {
    clear(kk);
    begin_products();
    add_product(kk, left, shared_address(k) + p * panel_bytes);
    commit_products();
    wait_products<0>();
    pin(kk);
    store_panel(out + (P::w + p) * panel_bytes, kk);
  }
}

// ----------------------------------------------------------------------------------------- scan

// Of a stage: the chunk's panels of w, q, k and a, then the block's own of u.
template <int kKeys>
constexpr int scan_panels = 3 * kKeys + 2;
template <int kKeys, int kStages>
constexpr int scan_bytes = 1024 + (kStages * scan_panels<kKeys> + kKeys + 1) * panel_bytes;

// Block x: 64 columns of values; block y: value head; block z: sequence.
template <int kKeys, int kValues, int kStages>
__global__ void __launch_bounds__(threads) scan_kernel(GatedDeltaArgs a, Group group) {
  using P = Panels<kKeys, kValues>;
  extern __shared__ char dynamic[];
  const uint32_t base = shared_address(align_1024(dynamic));
  const uint32_t state_panels = base + kStages * scan_panels<kKeys> * panel_bytes;
  const uint32_t delta_panel = state_panels + kKeys * panel_bytes;
  const int thread = threadIdx.x, warp = thread / 32;
  const int slice = blockIdx.x, head = blockIdx.y;
  let_next_start();
  wait_for_previous();

  const auto copy_chunk = [&](int c) {
    const char* const from = group.panels + unit_of(a, c) * (P::count * panel_bytes);
    const uint32_t to = base + c % kStages * scan_panels<kKeys> * panel_bytes;
    constexpr int shared_part = (scan_panels<kKeys> - 1) * panel_bytes;
    for (int i = thread * 16; i < shared_part; i += threads * 16)
      copy_async(to + i, from + i, true);
    for (int i = thread * 16; i < panel_bytes; i += threads * 16)
      copy_async(to + shared_part + i, from + (P::u + slice) * panel_bytes + i, true);
  };

  // S, rows of keys by the block's columns, as accumulators of 64 rows.
  float h[kKeys][32];
  float* const state =
      a.state + (int64_t{blockIdx.z} * a.value_heads + head) * a.key_dim * a.value_dim + slice * 64;
  const auto state_at = [&](int p, int e) {
    const Entry at = entry(e);
    return reinterpret_cast<float2*>(state + int64_t{p * 64 + at.row} * a.value_dim + at.column);
  };
  const bool carried = group.begin > 0 || *a.past != 0;
#pragma unroll
  for (int p = 0; p < kKeys; ++p)
#pragma unroll
    for (int e = 0; e < 32; e += 2) {
      const float2 two = carried ? *state_at(p, e) : make_float2(0, 0);
      h[p][e] = two.x, h[p][e + 1] = two.y;
    }
  const auto publish_state = [&] {
#pragma unroll
    for (int p = 0; p < kKeys; ++p)
#pragma unroll
      for (int t = 0; t < 8; t += 2) {
        const float* const x = h[p] + 4 * t;
        const uint32_t words[4] = {pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]),
                                   pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7])};
        store_tile_pair(state_panels + p * panel_bytes, 16 * warp, t, words);
      }
  };
  publish_state();
  copy_chunk(0);
  commit_copies();

  for (int c = 0; c < group.chunks; ++c) {
    if (kStages > 1 && c + 1 < group.chunks) copy_chunk(c + 1);
    commit_copies();
    wait_copies<kStages - 1>();
    fence_for_products();
    __syncthreads();
    const uint32_t stage = base + c % kStages * scan_panels<kKeys> * panel_bytes;
    const float decay = exp2_fast(group.decays[unit_of(a, c)]);

    float d[32], y[32];
    clear(d), clear(y);
    uint32_t left[2 * kKeys][4][4];
#pragma unroll
    for (int p = 0; p < kKeys; ++p) {
      load_left(left[p], stage + (P::w + p) * panel_bytes);
      load_left(left[kKeys + p], stage + (P::q + p) * panel_bytes);
    }
    pin(d), pin(y);
    begin_products();
#pragma unroll
    for (int p = 0; p < kKeys; ++p) {
      add_product(d, left[p], state_panels + p * panel_bytes);
      add_product(y, left[kKeys + p], state_panels + p * panel_bytes);
    }
    commit_products();
    wait_products<0>();
    pin(d), pin(y);
#pragma unroll
    for (int t = 0; t < 8; t += 2) {
      uint32_t words[4];
      load_matrix(words,
                  tile_pair_address(stage + (scan_panels<kKeys> - 1) * panel_bytes, 16 * warp, t));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* const own = d + 4 * (t + i / 2) + 2 * (i % 2);
        words[i] = pack_bf16(low_half(words[i]) - own[0], high_half(words[i]) - own[1]);
      }
      store_tile_pair(delta_panel, 16 * warp, t, words);
    }
    load_left(left[0], stage + P::a * panel_bytes);
#pragma unroll
    for (int p = 0; p < kKeys; ++p) {
      load_left_transposed(left[1 + p], stage + (P::k + p) * panel_bytes);
#pragma unroll
      for (int e = 0; e < 32; ++e) h[p][e] *= decay;
      pin(h[p]);
    }
    fence_for_products();
    __syncthreads();
    begin_products();
    add_product(y, left[0], delta_panel);
#pragma unroll
    for (int p = 0; p < kKeys; ++p) add_product(h[p], left[1 + p], delta_panel);
    commit_products();
    wait_products<0>();
    pin(y);
#pragma unroll
    for (int p = 0; p < kKeys; ++p) pin(h[p]);
    if (c + 1 < group.chunks) publish_state();
    const int64_t t0 = group.begin + int64_t{c} * chunk;
    bf16* const out = static_cast<bf16*>(a.out) + (blockIdx.z * a.length + t0) * a.out_stride +
                      head * a.value_dim + slice * 64;
#pragma unroll
    for (int e = 0; e < 32; e += 2) {
      const Entry at = entry(e);
      if (t0 + at.row < a.length)
        *reinterpret_cast<uint32_t*>(out + at.row * a.out_stride + at.column) =
            pack_bf16(y[e], y[e + 1]);
    }
    __syncthreads();  // the stage, D and the state before have been read by all
    if (kStages == 1 && c + 1 < group.chunks) copy_chunk(c + 1);
  }
#pragma unroll
  for (int p = 0; p < kKeys; ++p)
#pragma unroll
    for (int e = 0; e < 32; e += 2) *state_at(p, e) = make_float2(h[p][e], h[p][e + 1]);
}

// ------------------------------------------------------------------------------------- launchers

int64_t units(const GatedDeltaArgs& a, int chunks) {
  return chunks * a.batch * a.value_heads;
}
int64_t unit_bytes(const GatedDeltaArgs& a) {
  return (3 * a.key_dim / 64 + 1 + a.value_dim / 64) * int64_t{panel_bytes};
}

template <class Kernel>
void allow_shared(Kernel kernel, int bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "gated_delta: shared memory");
}

template <int kKeys, int kValues>
void launch(const GatedDeltaArgs& a, int group_chunks, void* workspace, const Queue& queue) {
  int device = 0, most = 0;
  check(cudaGetDevice(&device), "device");
  check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "device");
  const bool two_stages = most >= scan_bytes<kKeys, 2>;
  const auto prepare = prepare_kernel<kKeys, kValues>;
  const auto scan = two_stages ? scan_kernel<kKeys, kValues, 2> : scan_kernel<kKeys, kValues, 1>;
  const int bytes = two_stages ? scan_bytes<kKeys, 2> : scan_bytes<kKeys, 1>;
  allow_shared(prepare, prepare_bytes<kKeys, kValues>);
  allow_shared(scan, bytes);
  Group group;
  group.panels = static_cast<char*>(workspace);
  group.decays = reinterpret_cast<float*>(group.panels + units(a, group_chunks) * unit_bytes(a));
  const auto heads = static_cast<unsigned>(a.value_heads), batch = static_cast<unsigned>(a.batch);
  for (; group.begin < a.length; group.begin += int64_t{group_chunks} * chunk) {
    group.chunks = static_cast<int>(
        std::min<int64_t>(group_chunks, (a.length - group.begin + chunk - 1) / chunk));
    launch_kernel(prepare, dim3(static_cast<unsigned>(group.chunks), heads, batch), dim3(threads),
                  prepare_bytes<kKeys, kValues>, queue, "gated_delta", a, group);
    launch_kernel(scan, dim3(kValues, heads, batch), dim3(threads), static_cast<size_t>(bytes),
                  queue, "gated_delta", a, group);
  }
}

}  // namespace

bool gated_delta_chunked_supports(const GatedDeltaArgs& a) {
  const auto panels = [](int32_t dim) { return dim == 64 || dim == 128; };
  return a.dtype == DType::bf16 && panels(a.key_dim) && panels(a.value_dim) &&
         is_multiple_of(a.q, 16) && is_multiple_of(a.k, 16) && is_multiple_of(a.v, 16) &&
         is_multiple_of(a.out, 4) && a.q_stride % 8 == 0 && a.k_stride % 8 == 0 &&
         a.v_stride % 8 == 0 && a.out_stride % 2 == 0;
}

int gated_delta_group(const GatedDeltaArgs& a) {
  // Three chunks a multiprocessor at once fit; of 128 x 128 they leave 28 MB.
  const int64_t chunks = (a.length + chunk - 1) / chunk;
  return static_cast<int>(
      std::clamp<int64_t>(384 / (a.batch * a.value_heads), 1, std::max<int64_t>(1, chunks)));
}

int64_t gated_delta_chunked_workspace_bytes(const GatedDeltaArgs& a) {
  return units(a, gated_delta_group(a)) * (unit_bytes(a) + int64_t{sizeof(float)});
}

void launch_gated_delta_chunked(const GatedDeltaArgs& a, void* workspace, const Queue& queue) {
  const int group = gated_delta_group(a);
  if (a.key_dim == 128)
    a.value_dim == 128 ? launch<2, 2>(a, group, workspace, queue)
                       : launch<2, 1>(a, group, workspace, queue);
  else
    a.value_dim == 128 ? launch<1, 2>(a, group, workspace, queue)
                       : launch<1, 1>(a, group, workspace, queue);
}

}  // namespace tidemark::cuda
