#include "backend/cuda/queue.h"

#include <fmt/format.h>

#include "backend/arena.h"
#include "base/error.h"

namespace tidemark::cuda {

void check(cudaError_t status, std::string_view what) {
  if (status == cudaSuccess) return;
  const std::string text =
      fmt::format("CUDA: {}: {} ({})", what, cudaGetErrorString(status), cudaGetErrorName(status));
  // Kernels are loaded, and their stacks made, when they are first launched: after the arenas.
  if (status == cudaErrorMemoryAllocation) throw OutOfMemory(text);
  throw Error(text);
}

}  // namespace tidemark::cuda
