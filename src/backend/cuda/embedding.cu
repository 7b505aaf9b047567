// Rows of the embedding table by token id, times a scale. One block per token; bytes alone.
#include "backend/cuda/device.cuh"
#include "backend/cuda/positions.h"

namespace tidemark::cuda {
namespace {

template <class T>
__global__ void embedding_kernel(EmbeddingArgs a) {
  let_next_start();
  wait_for_previous();
  const int row = blockIdx.x, b = row / a.length, t = row % a.length;
  const int id = a.ids[b * a.ids_stride + *a.past + t];
  const int safe = min(max(id, 0), a.vocab - 1);
  const T* from = static_cast<const T*>(a.table) + safe * a.table_stride;
  T* to = static_cast<T*>(a.out) + row * a.out_stride;
  for (int i = threadIdx.x; i < a.width; i += blockDim.x)
    to[i] = from_float<T>(to_float(from[i]) * a.scale);
}

}  // namespace

void launch_embedding(const EmbeddingArgs& a, const Queue& queue) {
  const auto kernel = a.dtype == DType::bf16 ? embedding_kernel<bf16> : embedding_kernel<float>;
  launch_kernel(kernel, dim3(a.batch * a.length), dim3(256), 0, queue, "embedding", a);
}

}  // namespace tidemark::cuda
