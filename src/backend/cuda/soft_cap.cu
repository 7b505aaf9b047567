// Logits kept within +-cap by a scaled tanh (Gemma 2, arXiv 2408.00118, section 2). Limit: bytes.
#include "backend/cuda/elementwise.cuh"
#include "backend/cuda/elementwise.h"

namespace tidemark::cuda {
namespace {

template <class T, int kVector>
__global__ void __launch_bounds__(elementwise_threads) soft_cap_kernel(SoftCapArgs a) {
  let_next_start();
  wait_for_previous();
  const int column = own_column<kVector>();
  if (column >= a.width) return;
  T* const at = static_cast<T*>(a.x) + int64_t{blockIdx.x} * a.x_stride + column;
  float x[kVector];
  to_floats(load_vector<T, kVector>(at), x);
#pragma unroll
  for (int j = 0; j < kVector; ++j) x[j] = a.cap * tanhf(x[j] / a.cap);
  store_vector<T>(at, x);
}

template <class T>
void launch(const SoftCapArgs& a, const Queue& queue) {
  const bool aligned = rows_aligned(a.dtype, a.width, {a.x}, {a.x_stride});
  const auto kernel = aligned ? soft_cap_kernel<T, full_vector<T>> : soft_cap_kernel<T, 1>;
  launch_kernel(kernel, grid_of_rows(a.rows, a.width, aligned ? full_vector<T> : 1),
                dim3(elementwise_threads), 0, queue, "soft_cap", a);
}

}  // namespace

void launch_soft_cap(const SoftCapArgs& a, const Queue& queue) {
  a.dtype == DType::bf16 ? launch<bf16>(a, queue) : launch<float>(a, queue);
}

}  // namespace tidemark::cuda
