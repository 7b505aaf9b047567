// The angle by which RoPE turns a pair of elements at a position.
#pragma once

#include <cstdint>

namespace tidemark::cuda {

// In fp64, so that positions of millions keep their phase.
__device__ inline void rotation(int64_t position, float inv_freq, float& cosine, float& sine) {
  constexpr double two_pi = 6.283185307179586476925;
  const double angle = static_cast<double>(position) * static_cast<double>(inv_freq);
  sincosf(static_cast<float>(fma(-rint(angle * (1.0 / two_pi)), two_pi, angle)), &sine, &cosine);
}

}  // namespace tidemark::cuda
