// out = x + y by rows, or a copy. Limit: bytes.
#include "backend/cuda/elementwise.cuh"
#include "backend/cuda/elementwise.h"

namespace tidemark::cuda {
namespace {

template <class T, int kVector>
__global__ void __launch_bounds__(elementwise_threads) add_kernel(AddArgs a) {
  let_next_start();
  wait_for_previous();
  const int64_t row = blockIdx.x;
  const int column = own_column<kVector>();
  if (column >= a.width) return;
  float x[kVector], y[kVector];
  to_floats(load_vector<T, kVector>(static_cast<const T*>(a.x) + row * a.x_stride + column), x);
  if (a.y) {
    to_floats(load_vector<T, kVector>(static_cast<const T*>(a.y) + row * a.y_stride + column), y);
#pragma unroll
    for (int j = 0; j < kVector; ++j) x[j] += y[j];
  }
  store_vector<T>(static_cast<T*>(a.out) + row * a.out_stride + column, x);
}

}  // namespace

void launch_add(const AddArgs& a, const Queue& queue) {
  const bool aligned =
      rows_aligned(a.dtype, a.width, {a.x, a.y, a.out}, {a.x_stride, a.y_stride, a.out_stride});
  const bool is_bf16 = a.dtype == DType::bf16;
  const auto kernel = is_bf16 ? (aligned ? add_kernel<bf16, 8> : add_kernel<bf16, 1>)
                              : (aligned ? add_kernel<float, 4> : add_kernel<float, 1>);
  launch_kernel(kernel,
                grid_of_rows(a.rows, a.width,
                             !aligned  ? 1
                             : is_bf16 ? 8
                                       : 4),
                dim3(elementwise_threads), 0, queue, "add", a);
}

}  // namespace tidemark::cuda
