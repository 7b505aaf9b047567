// What both norms share: a vector of a row held in the registers of 32 to 1024 threads.
#pragma once

#include <algorithm>
#include <type_traits>

#include "backend/cuda/norm.h"
#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {

// Loads per thread. More threads than the vector has loads stay idle, so warps are counted exactly.
inline constexpr int norm_loads = 2;
inline constexpr int norm_block_threads = 128;  // of a block of vectors of one warp each

inline NormChoice choose_row_vectors(int32_t width, DType dtype, bool aligned) {
  NormChoice choice;
  const int full = dtype == DType::bf16 ? 8 : 4;
  if (aligned && width % full == 0) choice.vector = full;
  const int per_warp = 32 * choice.vector * norm_loads;
  choice.threads = 32 * std::max(1, (width + per_warp - 1) / per_warp);
  return choice;
}

// Calls launch(elements per load as a constant, whether a vector is one warp's as a constant).
template <class T, class Launch>
void for_choice(const NormChoice& choice, Launch launch) {
  const auto with_vector = [&](auto vector) {
    if (choice.threads == 32)
      launch(vector, std::true_type{});
    else
      launch(vector, std::false_type{});
  };
  if (choice.vector == 1)
    with_vector(std::integral_constant<int, 1>{});
  else
    with_vector(std::integral_constant<int, full_vector<T>>{});
}

// Sum over the threads of a vector: a warp, or the block, for which `shared` has a float per warp.
template <bool kWarp>
__device__ inline float vector_sum(float x, float* shared) {
  x = lane_sum(x);
  if constexpr (kWarp) return x;
  const int warps = blockDim.x / 32;
  __syncthreads();  // an earlier sum has been read
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  return lane_sum(static_cast<int>(threadIdx.x % 32) < warps ? shared[threadIdx.x % 32] : 0.0F);
}

// Which vector a thread works on and where its loads lie in it.
template <int kVector, bool kWarp>
struct Place {
  __device__ Place(int32_t groups, int32_t width)
      : threads(kWarp ? 32 : blockDim.x),
        thread(threadIdx.x % threads),
        vector(kWarp ? int64_t{blockIdx.x} * (norm_block_threads / 32) + threadIdx.x / 32
                     : int64_t{blockIdx.x}),
        row(groups == 1 ? vector : vector / groups),
        column(groups == 1 ? 0 : (vector - row * groups) * width) {}
  __device__ int at(int i) const { return (thread + i * threads) * kVector; }
  int threads, thread;
  int64_t vector, row, column;
};

}  // namespace tidemark::cuda
