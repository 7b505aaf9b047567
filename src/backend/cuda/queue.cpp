#include "backend/cuda/queue.h"

#include "base/error.h"

namespace tidemark::cuda {

void check(cudaError_t status, std::string_view what) {
  if (status == cudaSuccess) return;
  fail("CUDA: {}: {} ({})", what, cudaGetErrorString(status), cudaGetErrorName(status));
}

}  // namespace tidemark::cuda
