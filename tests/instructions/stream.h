// The yardstick of instruction counts.
#pragma once

#include <cstdint>

namespace tidemark {

// y += a * x over `count` floats, a multiple of 16, one vector at a time at the level that kernels
// are dispatched to.
void stream(float a, const float* x, float* y, int64_t count);

}  // namespace tidemark
