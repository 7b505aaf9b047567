// What a model and a sequence cost in memory: the weights, what grows with the sequence, and what
// does not.
#pragma once

#include <cstdint>

#include "plan/plan.h"

namespace tidemark {

struct Footprint {
  int64_t weight_bytes = 0;               // with the scales of 8-bit ones
  int64_t kv_bytes_per_token = 0;         // growth of the KV cache per token, inside every window
  int64_t kv_bytes_per_token_beyond = 0;  // growth beyond every sliding window
  int64_t fixed_kv_bytes = 0;             // of full sliding windows (and what else does not grow)
  int64_t ssm_state_bytes = 0;            // per sequence, whatever its length
  int64_t conv_state_bytes = 0;
  int64_t fixed_bytes() const { return fixed_kv_bytes + ssm_state_bytes + conv_state_bytes; }
};

// Read off the plan at two contexts, so that it cannot disagree with what is allocated.
Footprint footprint(const ModelSpec&, DType);

}  // namespace tidemark
