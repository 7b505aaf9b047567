// out = x + y by rows, or a copy. Bytes alone: 16 of them a thread where rows are aligned to that.
#include "backend/cuda/positions.h"
#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {
namespace {

constexpr int threads = 256;

template <class T, int kVector>
__global__ void __launch_bounds__(threads) add_kernel(AddArgs a) {
  let_next_start();
  wait_for_previous();
  const int64_t runs = a.width / kVector;
  for (int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x; i < a.rows * runs;
       i += int64_t{gridDim.x} * threads) {
    const int64_t row = i / runs, column = i % runs * kVector;
    float x[kVector], y[kVector];
    to_floats(load_vector<T, kVector>(static_cast<const T*>(a.x) + row * a.x_stride + column), x);
    if (a.y) {
      to_floats(load_vector<T, kVector>(static_cast<const T*>(a.y) + row * a.y_stride + column), y);
#pragma unroll
      for (int j = 0; j < kVector; ++j) x[j] += y[j];
    }
    store_vector<T>(static_cast<T*>(a.out) + row * a.out_stride + column, x);
  }
}

}  // namespace

void launch_add(const AddArgs& a, const Queue& queue) {
  const int full = a.dtype == DType::bf16 ? 8 : 4;
  const bool aligned = is_multiple_of(a.x, 16) && is_multiple_of(a.y, 16) &&
                       is_multiple_of(a.out, 16) && a.x_stride % full == 0 &&
                       a.y_stride % full == 0 && a.out_stride % full == 0 && a.width % full == 0;
  const auto kernel = a.dtype == DType::bf16
                          ? (aligned ? add_kernel<bf16, 8> : add_kernel<bf16, 1>)
                          : (aligned ? add_kernel<float, 4> : add_kernel<float, 1>);
  const int64_t work = (a.rows * a.width / (aligned ? full : 1) + threads - 1) / threads;
  launch_kernel(kernel, dim3(static_cast<unsigned>(work < 65536 ? work : 65536)), dim3(threads), 0,
                queue, "add", a);
}

}  // namespace tidemark::cuda
