// The CUDA backend of a build without CUDA: no devices, and a clear line for who asks for one.
#include "backend/cuda_devices.h"

#include "base/error.h"

namespace tidemark {

std::vector<BackendInfo> list_cuda_devices() {
  return {};
}

std::string cuda_absence() {
  return "this build of tidemark has no CUDA backend (docs/cuda.md)";
}

std::unique_ptr<Backend> make_cuda_backend(int index, int64_t) {
  fail("device cuda:{}: {}", index, cuda_absence());
}

void release_cuda_device() {}

}  // namespace tidemark
