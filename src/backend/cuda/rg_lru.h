// Real-gated linear recurrent unit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "backend/cuda/queue.h"
#include "base/vocab.h"

namespace tidemark::cuda {

// i = sigmoid(input_gate), r = sigmoid(recurrent_gate), a = exp(-8 r softplus(param)),
// h = a h + sqrt(1 - a^2) i x, the root being 1 at position 0; out = h. Pointers are to device
// memory; strides are of rows, in elements; operands have `dtype`, the state is fp32.
struct RgLruArgs {
  const void *x = nullptr, *input_gate = nullptr, *recurrent_gate = nullptr;  // [rows, width]
  const void* param = nullptr;                                                // [width]
  float* state = nullptr;                                                     // [batch, width]
  void* out = nullptr;            // [rows, width]; may be x or a gate
  const int64_t* past = nullptr;  // on the device; at 0 the state counts as zero and is not read
  int64_t x_stride = 0, input_stride = 0, recurrent_stride = 0, out_stride = 0;
  int64_t batch = 0, length = 0;
  int32_t width = 0;
  DType dtype = DType::f32;
};

struct RgLruChoice {
  int segments = 1;  // parts of the sequence computed at once
};
RgLruChoice choose_rg_lru(const RgLruArgs&, int sm_count);
std::string name(const RgLruChoice&);
size_t rg_lru_workspace_bytes(const RgLruArgs&, const RgLruChoice&);
void launch_rg_lru(const RgLruArgs&, const RgLruChoice&, void* workspace, const Queue&);

}  // namespace tidemark::cuda
