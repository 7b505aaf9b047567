// out = act(gate) * up, and out = act(x).
#pragma once

#include <cstdint>
#include <string>

#include "backend/cuda/queue.h"
#include "base/vocab.h"

namespace tidemark::cuda {

// Pointers are to device memory; strides are of rows, in elements; all have `dtype`.
struct GluArgs {
  Act act = Act::silu;
  const void* gate = nullptr;  // [rows, width]
  const void* up = nullptr;    // [rows, width]; null: out = act(gate), an Activation
  void* out = nullptr;         // [rows, width]; may be gate or up
  int64_t gate_stride = 0, up_stride = 0, out_stride = 0;
  int64_t rows = 0;
  int32_t width = 0;
  DType dtype = DType::f32;
};

struct GluChoice {
  int vector = 1;  // elements per load: 16 bytes' worth, or 1 where rows are not aligned to that
};
GluChoice choose_glu(const GluArgs&);
std::string name(const GluChoice&);
void launch_glu(const GluArgs&, const GluChoice&, const Queue&);

}  // namespace tidemark::cuda
