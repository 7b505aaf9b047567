// Copies this step's keys and values to their slots of the cache: with a window a ring, behind the
// sinks. One block per token; of a step longer than the ring only its end is kept.
#include "backend/cuda/cache_ring.cuh"
#include "backend/cuda/device.cuh"
#include "backend/cuda/positions.h"

namespace tidemark::cuda {
namespace {

template <class T>
__global__ void kv_append_kernel(KvAppendArgs a) {
  let_next_start();
  wait_for_previous();
  const int row = blockIdx.x, b = row / a.length, t = row % a.length;
  const int64_t position = *a.past + t;
  if (position >= a.sinks && t < a.length - (a.capacity - a.sinks)) return;
  const int64_t cache_row =
      int64_t{b} * a.kv_heads * a.capacity + ring_slot(position, a.capacity, a.sinks);
  const auto copy = [&](const void* from, int64_t stride, void* to, int dim) {
    const T* source = static_cast<const T*>(from) + row * stride;
    for (int i = threadIdx.x; i < a.kv_heads * dim; i += blockDim.x)
      static_cast<T*>(to)[(cache_row + i / dim * a.capacity) * dim + i % dim] = source[i];
  };
  copy(a.k, a.k_stride, a.k_cache, a.head_dim);
  copy(a.v, a.v_stride, a.v_cache, a.value_dim);
}

}  // namespace

void launch_kv_append(const KvAppendArgs& a, const Queue& queue) {
  const auto kernel = a.dtype == DType::bf16 ? kv_append_kernel<bf16> : kv_append_kernel<float>;
  launch_kernel(kernel, dim3(a.batch * a.length), dim3(128), 0, queue, "kv_append", a);
}

}  // namespace tidemark::cuda
