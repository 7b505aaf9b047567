// out[m, n] (+)= scale * (x weight^T + bias) of any shape and alignment. Algorithm and limits:
// product_plain.cuh.
#include "backend/cuda/gemm_plain.h"
#include "backend/cuda/product_plain.cuh"

namespace tidemark::cuda {
namespace {

template <class T, class Out>
__global__ void __launch_bounds__(plain_threads) gemm_plain_kernel(GemmArgs a) {
  let_next_start();
  wait_for_previous();
  PlainProduct<T, Out> p;
  p.x = static_cast<const T*>(a.x), p.weight = static_cast<const T*>(a.weight);
  p.bias = static_cast<const T*>(a.bias), p.out = static_cast<Out*>(a.out);
  p.x_stride = a.x_stride, p.weight_n = a.weight_stride, p.weight_k = 1;
  p.out_stride = a.out_stride;
  p.m = a.m, p.n = a.n, p.k = a.k;
  p.scale = a.scale, p.accumulate = a.accumulate;
  plain_product(p, int64_t{blockIdx.x} * plain_tile, int64_t{blockIdx.y} * plain_tile);
}

}  // namespace

void launch_gemm_plain(const GemmArgs& a, const Queue& queue) {
  const dim3 grid(static_cast<unsigned>((a.m + plain_tile - 1) / plain_tile),
                  static_cast<unsigned>((a.n + plain_tile - 1) / plain_tile));
  const bool to_float = a.out_dtype == DType::f32;
  const auto kernel =
      a.dtype == DType::bf16
          ? (to_float ? gemm_plain_kernel<bf16, float> : gemm_plain_kernel<bf16, bf16>)
          : (to_float ? gemm_plain_kernel<float, float> : gemm_plain_kernel<float, bf16>);
  launch_kernel(kernel, grid, dim3(plain_threads), 0, queue, "gemm", a);
}

}  // namespace tidemark::cuda
