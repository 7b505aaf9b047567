// A stream and how kernels are put on it; and the one way a CUDA call is checked.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <string_view>

namespace tidemark::cuda {

// Throws Error naming `what`. Defined in queue.cpp: kernels' files do not see fmt, whose
// compile-time format checks nvcc's front end rejects.
void check(cudaError_t status, std::string_view what);

struct Queue {
  cudaStream_t stream = nullptr;
  // Programmatic dependent launch (sm_90 on): a kernel may start while its predecessor drains. Such
  // a kernel reads nothing but weights before wait_for_previous() (device.cuh).
  bool overlap = false;
};

// Launches a kernel; its parameters are converted from `args`.
template <class... Params, class... Args>
void launch_kernel(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
                   const Queue& queue, std::string_view name, Args&&... args) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = queue.stream;
  config.attrs = &attribute;
  config.numAttrs = queue.overlap ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...), name);
}

}  // namespace tidemark::cuda
