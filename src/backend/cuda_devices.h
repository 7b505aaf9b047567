// The GPU backend's way in. Defined by backend/cuda/ where the build found CUDA, else by
// backend/none/.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace tidemark {

// Every GPU that this build can run on, or empty: cuda_absence() then says why in one line.
std::vector<BackendInfo> list_cuda_devices();
std::string cuda_absence();

// With a memory limit the device counts as one of that size, driver and libraries included.
// Throws Error with one line: no driver, no such device, an architecture this build has no code
// for.
std::unique_ptr<Backend> make_cuda_backend(int index, int64_t memory_limit_bytes);

// Gives up what this process holds of the GPU that its last backend ran on, the context included,
// so that the processes it starts find the device as it did. No backend may be left on it.
void release_cuda_device();

}  // namespace tidemark
