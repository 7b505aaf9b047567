// Gated linear unit's elementwise half (arXiv 2002.05202) and plain activations. Algorithm: threads
// stride the [rows, width] elements by 16 bytes, four loads in flight. Limit: bytes read and
// written.
#include <algorithm>

#include "backend/cuda/glu.h"
#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {
namespace {

constexpr int threads_per_block = 128;
constexpr int rows_per_block = 4;

// Block x: rows; block y: columns.
template <class T, Act kAct, bool kGated, int kVector>
__global__ void __launch_bounds__(threads_per_block) glu_kernel(GluArgs a) {
  let_next_start();
  wait_for_previous();
  const int column = (blockIdx.y * threads_per_block + threadIdx.x) * kVector;
  if (column >= a.width) return;
  const int64_t row0 = int64_t{blockIdx.x} * rows_per_block;
  const int rows = static_cast<int>(min(int64_t{rows_per_block}, a.rows - row0));
  const T* const gates = static_cast<const T*>(a.gate) + row0 * a.gate_stride + column;
  const T* const ups = static_cast<const T*>(a.up) + row0 * a.up_stride + column;
  T* const out = static_cast<T*>(a.out) + row0 * a.out_stride + column;
  Vector<T, kVector> gate[rows_per_block], up[rows_per_block];
#pragma unroll
  for (int i = 0; i < rows_per_block; ++i)
    if (i < rows) {
      gate[i] = load_vector<T, kVector>(gates + i * a.gate_stride);
      if (kGated) up[i] = load_vector<T, kVector>(ups + i * a.up_stride);
    }
#pragma unroll
  for (int i = 0; i < rows_per_block; ++i)
    if (i < rows) {
      float y[kVector];
#pragma unroll
      for (int j = 0; j < kVector; ++j) {
        y[j] = activate<kAct>(to_float(gate[i].value[j]));
        if (kGated) y[j] *= to_float(up[i].value[j]);
      }
      store_vector<T>(out + i * a.out_stride, y);
    }
}

template <class T, Act kAct, int kVector>
void launch(const GluArgs& a, const Queue& queue) {
  constexpr int columns = threads_per_block * kVector;
  const auto kernel =
      a.up != nullptr ? glu_kernel<T, kAct, true, kVector> : glu_kernel<T, kAct, false, kVector>;
  const dim3 grid(static_cast<unsigned>((a.rows + rows_per_block - 1) / rows_per_block),
                  static_cast<unsigned>((a.width + columns - 1) / columns));
  launch_kernel(kernel, grid, dim3(threads_per_block), 0, queue, "glu", a);
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
