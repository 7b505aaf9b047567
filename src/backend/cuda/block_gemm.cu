// The block-diagonal gates of the RG-LRU (Griffin, arXiv 2402.19427, section 2.4). Algorithm:
//   few rows (decode): a block of 8 warps takes 32 outputs of one row, one a lane, so that a warp
//     reads whole pieces of the weights' rows; the warps split k and add up in shared memory;
//   many: 128 x 128 tiles on tensor cores (product_tensor.cuh), weights read as they lie; in fp32
//     or unaligned product_plain.cuh.
// Limits: few: bytes of the weights, in practice latency; many: bytes of x and out.
#include "backend/cuda/block_gemm.h"
#include "backend/cuda/product_plain.cuh"
#include "backend/cuda/product_tensor.cuh"
#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {
namespace {

constexpr int few_warps = 8;

// Block x: 32 outputs; block y: diagonal block; block z: row.
template <class T>
__global__ void __launch_bounds__(few_warps * 32) few_kernel(BlockGemmArgs a) {
  __shared__ float partial[few_warps][32];
  let_next_start();
  wait_for_previous();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int j = blockIdx.x * 32 + lane;
  const int64_t block = blockIdx.y, row = blockIdx.z;
  const T* const x = static_cast<const T*>(a.x) + row * a.x_stride + block * a.k;
  const T* const weight = static_cast<const T*>(a.weight) + block * a.k * a.weight_stride;
  float sum = 0;
  if (j < a.n) {
#pragma unroll 8
    for (int i = warp; i < a.k; i += few_warps)
      sum = fmaf(to_float(x[i]), to_float(weight[i * a.weight_stride + j]), sum);
  }
  partial[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || j >= a.n) return;
  for (int w = 1; w < few_warps; ++w) sum += partial[w][lane];
  if (a.bias) sum += to_float(static_cast<const T*>(a.bias)[block * a.n + j]);
  static_cast<T*>(a.out)[row * a.out_stride + block * a.n + j] = from_float<T>(sum);
}

template <class T>
__global__ void __launch_bounds__(plain_threads) plain_kernel(BlockGemmArgs a) {
  let_next_start();
  wait_for_previous();
  const int64_t block = blockIdx.z;
  PlainProduct<T> p;
  p.x = static_cast<const T*>(a.x) + block * a.k;
  p.weight = static_cast<const T*>(a.weight) + block * a.k * a.weight_stride;
  if (a.bias) p.bias = static_cast<const T*>(a.bias) + block * a.n;
  p.out = static_cast<T*>(a.out) + block * a.n;
  p.x_stride = a.x_stride, p.weight_n = 1, p.weight_k = a.weight_stride;
  p.out_stride = a.out_stride;
  p.m = a.m, p.n = a.n, p.k = a.k;
  plain_product(p, int64_t{blockIdx.x} * plain_tile, int64_t{blockIdx.y} * plain_tile);
}

__global__ void __launch_bounds__(tensor_threads<2>) tensor_kernel(BlockGemmArgs a) {
  let_next_start();
  wait_for_previous();
  const int64_t block = blockIdx.z;
  TensorProduct p;
  p.x = static_cast<const bf16*>(a.x) + block * a.k;
  p.weight = static_cast<const bf16*>(a.weight) + block * a.k * a.weight_stride;
  if (a.bias) p.bias = static_cast<const bf16*>(a.bias) + block * a.n;
  p.out = static_cast<bf16*>(a.out) + block * a.n;
  p.x_stride = a.x_stride, p.weight_stride = a.weight_stride, p.out_stride = a.out_stride;
  p.m = a.m, p.n = a.n, p.k = a.k;
  tensor_product<2, true>(p, int64_t{blockIdx.x} * tensor_rows<2>, blockIdx.y * tensor_columns);
}

constexpr int64_t few_rows = 8;

dim3 grid_of_tiles(const BlockGemmArgs& a, int rows, int columns) {
  return dim3(static_cast<unsigned>((a.m + rows - 1) / rows),
              static_cast<unsigned>((a.n + columns - 1) / columns),
              static_cast<unsigned>(a.blocks));
}

}  // namespace

BlockGemmKernel choose_block_gemm(const BlockGemmArgs& a) {
  if (a.m <= few_rows) return BlockGemmKernel::few;
  const bool aligned = is_multiple_of(a.x, 16) && is_multiple_of(a.weight, 16) &&
                       a.x_stride % 8 == 0 && a.weight_stride % 8 == 0 && a.k % 8 == 0 &&
                       a.n % 8 == 0;
  return a.dtype == DType::bf16 && aligned ? BlockGemmKernel::tensor : BlockGemmKernel::plain;
}

std::string_view name(BlockGemmKernel kernel) {
  switch (kernel) {
    case BlockGemmKernel::few:
      return "block gemv";
    case BlockGemmKernel::plain:
      return "block gemm plain";
    case BlockGemmKernel::tensor:
      return "block gemm 128x128";
  }
  return {};
}

void launch_block_gemm(const BlockGemmArgs& a, BlockGemmKernel kernel, const Queue& queue) {
  const bool is_bf16 = a.dtype == DType::bf16;
  switch (kernel) {
    case BlockGemmKernel::few:
      return launch_kernel(is_bf16 ? few_kernel<bf16> : few_kernel<float>,
                           dim3(static_cast<unsigned>((a.n + 31) / 32),
                                static_cast<unsigned>(a.blocks), static_cast<unsigned>(a.m)),
                           dim3(few_warps * 32), 0, queue, "block_gemm", a);
    case BlockGemmKernel::plain:
      return launch_kernel(is_bf16 ? plain_kernel<bf16> : plain_kernel<float>,
                           grid_of_tiles(a, plain_tile, plain_tile), dim3(plain_threads), 0, queue,
                           "block_gemm", a);
    case BlockGemmKernel::tensor:
      break;
  }
  constexpr int bytes = tensor_shared_bytes<2>;
  check(cudaFuncSetAttribute(tensor_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "block_gemm: shared memory");
  launch_kernel(tensor_kernel, grid_of_tiles(a, tensor_rows<2>, tensor_columns),
                dim3(tensor_threads<2>), bytes, queue, "block_gemm", a);
}

}  // namespace tidemark::cuda
