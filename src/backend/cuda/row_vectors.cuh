// What both norms share: a vector of a row held in the registers of 32 to 512 threads.
#pragma once

#include "backend/cuda/norm.h"
#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {

inline constexpr int norm_block_threads = 128;  // of a block, where a vector takes fewer

inline NormChoice choose_row_vectors(int32_t width, DType dtype, bool aligned) {
  NormChoice choice;
  const int full = dtype == DType::bf16 ? 8 : 4;
  if (aligned && width % full == 0) choice.vector = full;
  // Up to 4 loads per thread.
  while (choice.threads < 512 && choice.threads * choice.vector * 4 < width) choice.threads *= 2;
  return choice;
}

// Calls launch(integral constants: vector, threads) for a choice; T's 16-byte vector or 1.
template <class T, class Launch>
void for_choice(const NormChoice& choice, Launch launch) {
  const auto with_vector = [&](auto vector) {
    switch (choice.threads) {
      case 32:
        return launch(vector, std::integral_constant<int, 32>{});
      case 64:
        return launch(vector, std::integral_constant<int, 64>{});
      case 128:
        return launch(vector, std::integral_constant<int, 128>{});
      case 256:
        return launch(vector, std::integral_constant<int, 256>{});
      default:
        return launch(vector, std::integral_constant<int, 512>{});
    }
  };
  if (choice.vector == 1)
    with_vector(std::integral_constant<int, 1>{});
  else
    with_vector(std::integral_constant<int, full_vector<T>>{});
}

// Sum over the kThreads threads of a vector; `shared` has a float per warp of the block.
template <int kThreads>
__device__ inline float vector_sum(float x, float* shared) {
  x = lane_sum(x);
  if constexpr (kThreads == 32) return x;
  constexpr int warps = kThreads / 32;
  const int warp = threadIdx.x / 32, first = warp / warps * warps;
  __syncthreads();  // an earlier sum has been read
  if (threadIdx.x % 32 == 0) shared[warp] = x;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int i = 0; i < warps; ++i) sum += shared[first + i];
  return sum;
}

}  // namespace tidemark::cuda
