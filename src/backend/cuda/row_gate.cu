// Rows scaled by an activation of one number each: a shared expert's gate. Limit: bytes.
#include "backend/cuda/elementwise.cuh"
#include "backend/cuda/elementwise.h"

namespace tidemark::cuda {
namespace {

template <class T, Act kAct, int kVector>
__global__ void __launch_bounds__(elementwise_threads) row_gate_kernel(RowGateArgs a) {
  let_next_start();
  wait_for_previous();
  const int64_t row = blockIdx.x;
  const int column = own_column<kVector>();
  if (column >= a.width) return;
  const float gate = activate<kAct>(to_float(static_cast<const T*>(a.gate)[row * a.gate_stride]));
  float x[kVector];
  to_floats(load_vector<T, kVector>(static_cast<const T*>(a.x) + row * a.x_stride + column), x);
#pragma unroll
  for (int j = 0; j < kVector; ++j) x[j] *= gate;
  store_vector<T>(static_cast<T*>(a.out) + row * a.out_stride + column, x);
}

template <class T, Act kAct>
void launch(const RowGateArgs& a, const Queue& queue) {
  const bool aligned = rows_aligned(a.dtype, a.width, {a.x, a.out}, {a.x_stride, a.out_stride});
  const auto kernel =
      aligned ? row_gate_kernel<T, kAct, full_vector<T>> : row_gate_kernel<T, kAct, 1>;
  launch_kernel(kernel, grid_of_rows(a.rows, a.width, aligned ? full_vector<T> : 1),
                dim3(elementwise_threads), 0, queue, "row_gate", a);
}

template <class T>
void launch(const RowGateArgs& a, const Queue& queue) {
  switch (a.act) {
    case Act::silu:
      return launch<T, Act::silu>(a, queue);
    case Act::gelu:
      return launch<T, Act::gelu>(a, queue);
    case Act::gelu_tanh:
      return launch<T, Act::gelu_tanh>(a, queue);
    case Act::relu2:
      return launch<T, Act::relu2>(a, queue);
    case Act::sigmoid:
      return launch<T, Act::sigmoid>(a, queue);
    case Act::identity:
      return launch<T, Act::identity>(a, queue);
  }
}

}  // namespace

void launch_row_gate(const RowGateArgs& a, const Queue& queue) {
  a.dtype == DType::bf16 ? launch<bf16>(a, queue) : launch<float>(a, queue);
}

}  // namespace tidemark::cuda
