#include <cstdint>

#include "fuzz/fuzz_inputs.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tidemark::fuzz_safetensors(std::as_bytes(std::span(data, size)));
  return 0;
}
