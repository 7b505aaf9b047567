// Chooses experts for every token and lays the chosen pairs out expert by expert.
#pragma once

#include <cstdint>

#include "backend/cuda/queue.h"
#include "base/vocab.h"

namespace tidemark::cuda {

// As ops.h says of Route. Pointers are to device memory; strides are of rows, in elements.
struct RouteArgs {
  RouterScore score = RouterScore::softmax;
  const float* logits = nullptr;  // [rows, experts]
  const void* bias = nullptr;     // [experts] dtype, or null
  float* weights = nullptr;       // [rows, top_k]
  int32_t* token = nullptr;       // [rows * top_k, 1]
  int32_t* position = nullptr;    // [rows, top_k]
  int32_t* first = nullptr;       // [experts + 1, 1]
  int32_t* chosen = nullptr;      // [rows, top_k], scratch: the expert of every choice
  int64_t logits_stride = 0, weights_stride = 0, token_stride = 0, position_stride = 0,
          first_stride = 0;
  int64_t rows = 0;
  int32_t experts = 0, top_k = 0, groups = 1, top_groups = 1;
  bool normalize = false;
  float scale = 1;
  DType dtype = DType::f32;
};

inline int64_t route_workspace_bytes(int64_t rows, int64_t top_k) {
  return rows * top_k * int64_t{sizeof(int32_t)};
}
void launch_route(const RouteArgs&, const Queue&);

}  // namespace tidemark::cuda
