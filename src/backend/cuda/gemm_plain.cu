// 64 x 64 outputs per block, 4 x 4 per thread, tiles of 16 along k in shared memory. Correct for
// every shape and alignment; speed is not its business.
#include "backend/cuda/device.cuh"
#include "backend/cuda/gemm_plain.h"

namespace tidemark::cuda {
namespace {

constexpr int tile = 64, depth = 16, threads = 256;

template <class T>
__global__ void __launch_bounds__(threads) gemm_plain_kernel(GemmArgs a) {
  __shared__ float x_tile[depth][tile + 1], w_tile[depth][tile + 1];
  let_next_start();
  wait_for_previous();
  const int64_t m0 = int64_t{blockIdx.y} * tile, n0 = int64_t{blockIdx.x} * tile;
  const int tm = threadIdx.x / 16, tn = threadIdx.x % 16;
  const T *x = static_cast<const T*>(a.x), *w = static_cast<const T*>(a.weight);
  float sum[4][4] = {};
  for (int64_t k0 = 0; k0 < a.k; k0 += depth) {
    for (int i = threadIdx.x; i < tile * depth; i += threads) {
      const int row = i / depth, k = i % depth;
      const bool inside = k0 + k < a.k;
      x_tile[k][row] =
          inside && m0 + row < a.m ? to_float(x[(m0 + row) * a.x_stride + k0 + k]) : 0.0F;
      w_tile[k][row] =
          inside && n0 + row < a.n ? to_float(w[(n0 + row) * a.weight_stride + k0 + k]) : 0.0F;
    }
    __syncthreads();
    for (int k = 0; k < depth; ++k)
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j)
          sum[i][j] = fmaf(x_tile[k][tm * 4 + i], w_tile[k][tn * 4 + j], sum[i][j]);
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      const int64_t m = m0 + tm * 4 + i, n = n0 + tn * 4 + j;
      if (m >= a.m || n >= a.n) continue;
      float value = sum[i][j];
      if (a.bias) value += to_float(static_cast<const T*>(a.bias)[n]);
      value *= a.scale;
      const int64_t at = m * a.out_stride + n;
      if (a.out_dtype == DType::f32) {
        float* out = static_cast<float*>(a.out) + at;
        *out = a.accumulate ? *out + value : value;
      } else {
        bf16* out = static_cast<bf16*>(a.out) + at;
        *out = from_float<bf16>(a.accumulate ? to_float(*out) + value : value);
      }
    }
}

}  // namespace

void launch_gemm_plain(const GemmArgs& a, const Queue& queue) {
  const dim3 grid(static_cast<unsigned>((a.n + tile - 1) / tile),
                  static_cast<unsigned>((a.m + tile - 1) / tile));
  const auto kernel = a.dtype == DType::bf16 ? gemm_plain_kernel<bf16> : gemm_plain_kernel<float>;
  launch_kernel(kernel, grid, dim3(threads), 0, queue, "gemm", a);
}

}  // namespace tidemark::cuda
