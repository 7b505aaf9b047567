// Where longrope changes from its short factors to its long ones within a sequence.
#pragma once

#include <cstdint>

#include "model/spec.h"

namespace tidemark {

// Of `new_tokens` those that come before the long factors set in, where transformers computes all
// positions anew: a plan for more of them has the long ones from its start. All of them where the
// factors do not change.
int64_t tokens_before_long_factors(const ModelSpec&, int64_t context, int64_t new_tokens);

}  // namespace tidemark
