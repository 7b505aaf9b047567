// A tile of a bf16 matrix product on tensor cores: 64 rows per warpgroup by 128 columns, in steps
// of 64 along k through three stages of shared memory filled by cp.async (panels of tile.cuh, so
// wgmma on sm_90a and mma.sync elsewhere). For the products that cuBLASLt has no call for: rows
// gathered by an index that is on the device, weights of a block-diagonal matrix.
#pragma once

#include "backend/cuda/tile.cuh"

namespace tidemark::cuda {

inline constexpr int tensor_columns = 128, tensor_depth = 64, tensor_stages = 3;

template <int kGroups>
inline constexpr int tensor_rows = 64 * kGroups;
template <int kGroups>
inline constexpr int tensor_threads = 128 * kGroups;
// One stage: the panels of x, then two of weights. Dynamic shared memory is aligned by hand.
template <int kGroups>
inline constexpr int tensor_stage_bytes = (kGroups + 2) * panel_bytes;
template <int kGroups>
inline constexpr int tensor_shared_bytes = tensor_stages* tensor_stage_bytes<kGroups> + 1024;

// out[i, j] = sum_k x[row(i), k] * w(j, k) + bias[j], i < m, j < n, with row(i) = gather[i *
// gather_stride] or i, and w(j, k) = weight[j * weight_stride + k], or transposed
// weight[k * weight_stride + j]. Rows of x and weight are aligned to 16 bytes, k and, transposed,
// n are multiples of 8.
struct TensorProduct {
  const bf16* x = nullptr;
  const int32_t* gather = nullptr;
  const bf16 *weight = nullptr, *bias = nullptr;
  bf16* out = nullptr;
  int64_t x_stride = 0, gather_stride = 0, weight_stride = 0, out_stride = 0;
  int64_t m = 0;
  int32_t n = 0, k = 0;
};

// The tile from row m0, column n0, by a block of tensor_threads<kGroups>.
template <int kGroups, bool kTransposed>
__device__ inline void tensor_product(const TensorProduct& p, int64_t m0, int n0) {
  extern __shared__ char tensor_shared[];
  constexpr int threads = tensor_threads<kGroups>, rows = tensor_rows<kGroups>;
  constexpr int pieces = tensor_depth / 8;    // of 16 bytes in a row of a panel
  constexpr int row_step = threads / pieces;  // rows that all threads copy at once
  constexpr int x_copies = rows / row_step;   // per thread and stage
  const uint32_t base = (shared_address(tensor_shared) + 1023u) & ~1023u;
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const int piece = threadIdx.x % pieces, row0 = threadIdx.x / pieces;

  const bf16* x_rows[x_copies];
  bool x_inside[x_copies];
#pragma unroll
  for (int i = 0; i < x_copies; ++i) {
    const int64_t m = m0 + row0 + i * row_step;
    x_inside[i] = m < p.m;
    const int64_t at = x_inside[i] ? m : m0;
    x_rows[i] = p.x + (p.gather ? p.gather[at * p.gather_stride] : at) * p.x_stride + piece * 8;
  }
  const auto copy_stage = [&](int step) {
    const uint32_t stage = base + step % tensor_stages * tensor_stage_bytes<kGroups>;
    const int k0 = step * tensor_depth;
    const bool x_columns = k0 + piece * 8 < p.k;
#pragma unroll
    for (int i = 0; i < x_copies; ++i) {
      const int row = row0 + i * row_step;
      const bool valid = x_inside[i] && x_columns;
      copy_async(stage + row / 64 * panel_bytes + swizzled(row % 64, piece),
                 valid ? x_rows[i] + k0 : p.x, valid);
    }
    const uint32_t weights = stage + kGroups * panel_bytes;
    if constexpr (kTransposed) {  // panel: 64 of k by 64 columns
#pragma unroll
      for (int i = 0; i < 2 * 64 / row_step; ++i) {
        const int row = (row0 + i * row_step) % 64, panel = (row0 + i * row_step) / 64;
        const int column = n0 + panel * 64 + piece * 8;
        const bool valid = k0 + row < p.k && column < p.n;
        copy_async(weights + panel * panel_bytes + swizzled(row, piece),
                   valid ? p.weight + (k0 + row) * p.weight_stride + column : p.weight, valid);
      }
    } else {  // panel: 64 columns by 64 of k
#pragma unroll
      for (int i = 0; i < tensor_columns / row_step; ++i) {
        const int row = row0 + i * row_step;
        const bool valid = n0 + row < p.n && x_columns;
        copy_async(weights + row / 64 * panel_bytes + swizzled(row % 64, piece),
                   valid ? p.weight + (n0 + row) * p.weight_stride + k0 + piece * 8 : p.weight,
                   valid);
      }
    }
  };

  const int steps = (p.k + tensor_depth - 1) / tensor_depth;
  float acc[2][32];
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int i = 0; i < 32; ++i) acc[half][i] = 0;
#pragma unroll
  for (int s = 0; s < tensor_stages - 1; ++s) {
    if (s < steps) copy_stage(s);
    commit_copies();
  }
  for (int step = 0; step < steps; ++step) {
    wait_copies<tensor_stages - 2>();
    wait_products<0>();  // of the step before: its stage is written next
    pin(acc[0]), pin(acc[1]);
    fence_for_products();
    __syncthreads();
    if (step + tensor_stages - 1 < steps) copy_stage(step + tensor_stages - 1);
    commit_copies();
    const uint32_t stage = base + step % tensor_stages * tensor_stage_bytes<kGroups>;
    const uint32_t x_panel = stage + group * panel_bytes, weights = stage + kGroups * panel_bytes;
    if constexpr (kTransposed) {
      uint32_t fragments[4][4];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        load_matrix(fragments[i], tile_pair_address(x_panel, 16 * warp, 2 * i));
      begin_products();
#pragma unroll
      for (int half = 0; half < 2; ++half)
        add_product(acc[half], fragments, weights + half * panel_bytes);
      commit_products();
      wait_products<0>();  // the fragments are registers
    } else {
      begin_products();
#pragma unroll
      for (int half = 0; half < 2; ++half)
        add_product<true>(acc[half], x_panel, weights + half * panel_bytes);
      commit_products();
    }
  }
  wait_copies<0>();
  wait_products<0>();
  pin(acc[0]), pin(acc[1]);

  // The results leave in whole rows, through the panels of a stage: two of each warpgroup.
  __syncthreads();
  const int panels = group * 2 * panel_bytes;
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int t = 0; t < 8; t += 2) {
      uint32_t words[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int n = n0 + half * 64 + (t + i / 2) * 8 + lane % 4 * 2;
        float low = acc[half][4 * (t + i / 2) + i % 2 * 2];
        float high = acc[half][4 * (t + i / 2) + i % 2 * 2 + 1];
        if (p.bias && n < p.n) low += to_float(p.bias[n]);
        if (p.bias && n + 1 < p.n) high += to_float(p.bias[n + 1]);
        words[i] = pack_bf16(low, high);
      }
      store_tile_pair(base + panels + half * panel_bytes, 16 * warp, t, words);
    }
  __syncwarp();
  const char* const results = tensor_shared + (base - shared_address(tensor_shared)) + panels;
  const bool whole = p.out_stride % 8 == 0 && reinterpret_cast<uintptr_t>(p.out) % 16 == 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int half = i / 4, row = 16 * warp + i % 4 * 4 + lane / 8, column = lane % 8 * 8;
    const int64_t m = m0 + group * 64 + row;
    const int n = n0 + half * 64 + column;
    if (m >= p.m || n >= p.n) continue;
    const uint4 words =
        *reinterpret_cast<const uint4*>(results + half * panel_bytes + swizzled(row, column / 8));
    bf16* const out = p.out + m * p.out_stride + n;
    if (whole && n + 8 <= p.n) {
      *reinterpret_cast<uint4*>(out) = words;
    } else {
      const uint32_t* const pairs = &words.x;
#pragma unroll
      for (int j = 0; j < 8; ++j)
        if (n + j < p.n)
          out[j] = from_float<bf16>(j % 2 == 0 ? low_half(pairs[j / 2]) : high_half(pairs[j / 2]));
    }
  }
}

}  // namespace tidemark::cuda
