// What the experts of a token gave, weighted and summed in fp32 in the order of its choices: a
// gather by rows, so no two threads write the same element. Limit: bytes of the experts' rows.
#include "backend/cuda/elementwise.cuh"
#include "backend/cuda/elementwise.h"

namespace tidemark::cuda {
namespace {

template <class T, int kVector>
__global__ void __launch_bounds__(elementwise_threads) combine_kernel(CombineArgs a) {
  let_next_start();
  wait_for_previous();
  const int64_t row = blockIdx.x;
  const int column = own_column<kVector>();
  if (column >= a.width) return;
  const float* const weights = a.weights + row * a.weights_stride;
  const int32_t* const position = a.position + row * a.position_stride;
  float sum[kVector] = {};
#pragma unroll 4
  for (int j = 0; j < a.top_k; ++j) {
    const float weight = weights[j];
    float x[kVector];
    to_floats(
        load_vector<T, kVector>(static_cast<const T*>(a.x) + position[j] * a.x_stride + column), x);
#pragma unroll
    for (int i = 0; i < kVector; ++i) sum[i] = fmaf(weight, x[i], sum[i]);
  }
  T* const out = static_cast<T*>(a.out) + row * a.out_stride + column;
  if (a.accumulate) {
    float x[kVector];
    to_floats(load_vector<T, kVector>(out), x);
#pragma unroll
    for (int i = 0; i < kVector; ++i) sum[i] += x[i];
  }
  store_vector<T>(out, sum);
}

template <class T>
void launch(const CombineArgs& a, const Queue& queue) {
  const bool aligned = rows_aligned(a.dtype, a.width, {a.x, a.out}, {a.x_stride, a.out_stride});
  const auto kernel = aligned ? combine_kernel<T, full_vector<T>> : combine_kernel<T, 1>;
  launch_kernel(kernel, grid_of_rows(a.rows, a.width, aligned ? full_vector<T> : 1),
                dim3(elementwise_threads), 0, queue, "combine", a);
}

}  // namespace

void launch_combine(const CombineArgs& a, const Queue& queue) {
  a.dtype == DType::bf16 ? launch<bf16>(a, queue) : launch<float>(a, queue);
}

}  // namespace tidemark::cuda
