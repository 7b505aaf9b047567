// Gated linear unit's elementwise half (arXiv 2002.05202) and plain activations. Algorithm: threads
// stride the [rows, width] elements by 16 bytes, four loads in flight. Limit: bytes read and
// written.
#include <algorithm>

#include "backend/cuda/glu.h"
#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {
namespace {

constexpr int threads_per_block = 256;
constexpr int in_flight = 4;

template <class T, Act kAct, bool kGated, int kVector>
__global__ void __launch_bounds__(threads_per_block) glu_kernel(GluArgs a) {
  let_next_start();
  wait_for_previous();
  const int64_t per_row = a.width / kVector, count = a.rows * per_row;
  const int64_t first = int64_t{blockIdx.x} * (threads_per_block * in_flight) + threadIdx.x;
  Vector<T, kVector> gate[in_flight], up[in_flight];
  int64_t row[in_flight], column[in_flight];
#pragma unroll
  for (int i = 0; i < in_flight; ++i) {
    const int64_t at = first + i * threads_per_block;
    if (at >= count) break;
    row[i] = at / per_row;
    column[i] = (at - row[i] * per_row) * kVector;
    gate[i] =
        load_vector<T, kVector>(static_cast<const T*>(a.gate) + row[i] * a.gate_stride + column[i]);
    if (kGated)
      up[i] =
          load_vector<T, kVector>(static_cast<const T*>(a.up) + row[i] * a.up_stride + column[i]);
  }
#pragma unroll
  for (int i = 0; i < in_flight; ++i) {
    if (first + i * threads_per_block >= count) break;
    float y[kVector];
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      y[j] = activate<kAct>(to_float(gate[i].value[j]));
      if (kGated) y[j] *= to_float(up[i].value[j]);
    }
    store_vector<T>(static_cast<T*>(a.out) + row[i] * a.out_stride + column[i], y);
  }
}

template <class T, Act kAct, int kVector>
void launch(const GluArgs& a, const Queue& queue) {
  constexpr int per_block = threads_per_block * in_flight * kVector;
  const auto kernel =
      a.up != nullptr ? glu_kernel<T, kAct, true, kVector> : glu_kernel<T, kAct, false, kVector>;
  const int64_t blocks = (a.rows * a.width + per_block - 1) / per_block;
  launch_kernel(kernel, dim3(static_cast<unsigned>(blocks)), dim3(threads_per_block), 0, queue,
                "glu", a);
}

template <class T, int kVector>
void launch(const GluArgs& a, const Queue& queue) {
  switch (a.act) {
    case Act::silu:
      return launch<T, Act::silu, kVector>(a, queue);
    case Act::gelu:
      return launch<T, Act::gelu, kVector>(a, queue);
    case Act::gelu_tanh:
      return launch<T, Act::gelu_tanh, kVector>(a, queue);
    case Act::relu2:
      return launch<T, Act::relu2, kVector>(a, queue);
    case Act::sigmoid:
      return launch<T, Act::sigmoid, kVector>(a, queue);
    case Act::identity:
      return launch<T, Act::identity, kVector>(a, queue);
  }
}

}  // namespace

GluChoice choose_glu(const GluArgs& a) {
  const int full = a.dtype == DType::bf16 ? 8 : 4;
  const bool aligned = is_multiple_of(a.gate, 16) && is_multiple_of(a.up, 16) &&
                       is_multiple_of(a.out, 16) && a.gate_stride % full == 0 &&
                       a.up_stride % full == 0 && a.out_stride % full == 0 && a.width % full == 0;
  return {aligned ? full : 1};
}

std::string name(const GluChoice& c) {
  return "glu by " + std::to_string(c.vector);
}

void launch_glu(const GluArgs& a, const GluChoice& choice, const Queue& queue) {
  if (a.dtype == DType::bf16)
    choice.vector == 8 ? launch<bf16, 8>(a, queue) : launch<bf16, 1>(a, queue);
  else
    choice.vector == 4 ? launch<float, 4>(a, queue) : launch<float, 1>(a, queue);
}

}  // namespace tidemark::cuda
