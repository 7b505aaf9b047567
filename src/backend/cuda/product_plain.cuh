// A tile of 64 x 64 outputs of a matrix product by a block of 256 threads, 4 x 4 each, in steps of
// 16 along k through shared memory. fp32 arithmetic; correct for every shape and alignment, and
// not made for speed.
#pragma once

#include "backend/cuda/device.cuh"

namespace tidemark::cuda {

inline constexpr int plain_tile = 64, plain_depth = 16, plain_threads = 256;

// out[i, j] (+)= scale * (sum_k x[row(i), k] * weight[j, k] + bias[j]), i < m, j < n, with row(i) =
// gather[i * gather_stride] or i. Weights may lie either way: element (j, k) at j * weight_n +
// k * weight_k.
template <class T, class Out = T>
struct PlainProduct {
  const T* x = nullptr;
  const int32_t* gather = nullptr;
  const T *weight = nullptr, *bias = nullptr;
  Out* out = nullptr;
  int64_t x_stride = 0, gather_stride = 0, weight_n = 0, weight_k = 0, out_stride = 0;
  int64_t m = 0, n = 0, k = 0;
  float scale = 1;
  bool accumulate = false;
};

template <class T, class Out>
__device__ inline void plain_product(const PlainProduct<T, Out>& p, int64_t m0, int64_t n0) {
  __shared__ float x_tile[plain_depth][plain_tile + 1], w_tile[plain_depth][plain_tile + 1];
  const int tm = threadIdx.x / 16, tn = threadIdx.x % 16;
  float sum[4][4] = {};
  for (int64_t k0 = 0; k0 < p.k; k0 += plain_depth) {
    for (int i = threadIdx.x; i < plain_tile * plain_depth; i += plain_threads) {
      const int row = i / plain_depth, k = i % plain_depth;
      float value = 0;
      if (k0 + k < p.k && m0 + row < p.m) {
        const int64_t from = p.gather ? p.gather[(m0 + row) * p.gather_stride] : m0 + row;
        value = to_float(p.x[from * p.x_stride + k0 + k]);
      }
      x_tile[k][row] = value;
    }
    for (int i = threadIdx.x; i < plain_tile * plain_depth; i += plain_threads) {
      // Neighbouring threads read neighbouring elements.
      const int row = p.weight_k == 1 ? i / plain_depth : i % plain_tile;
      const int k = p.weight_k == 1 ? i % plain_depth : i / plain_tile;
      w_tile[k][row] = k0 + k < p.k && n0 + row < p.n
                           ? to_float(p.weight[(n0 + row) * p.weight_n + (k0 + k) * p.weight_k])
                           : 0.0F;
    }
    __syncthreads();
    for (int k = 0; k < plain_depth; ++k)
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j)
          sum[i][j] = fmaf(x_tile[k][tm * 4 + i], w_tile[k][tn * 4 + j], sum[i][j]);
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      const int64_t m = m0 + tm * 4 + i, n = n0 + tn * 4 + j;
      if (m >= p.m || n >= p.n) continue;
      float value = sum[i][j];
      if (p.bias) value += to_float(p.bias[n]);
      value *= p.scale;
      Out* out = p.out + m * p.out_stride + n;
      *out = from_float<Out>(p.accumulate ? to_float(*out) + value : value);
    }
}

}  // namespace tidemark::cuda
