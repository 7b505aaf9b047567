// The last row of every sequence; the greedy token of a row of logits; and the position of a step.
#include "backend/cuda/device.cuh"
#include "backend/cuda/positions.h"

namespace tidemark::cuda {
namespace {

template <class T>
__global__ void select_last_kernel(SelectLastArgs a) {
  let_next_start();
  wait_for_previous();
  const int b = blockIdx.x;
  const T* from = static_cast<const T*>(a.x) + (int64_t{b} * a.length + a.length - 1) * a.x_stride;
  T* to = static_cast<T*>(a.out) + b * a.out_stride;
  for (int i = threadIdx.x; i < a.width; i += blockDim.x) to[i] = from[i];
}

// Blocks reduce slices of the row to one (value, index) word each; the last to finish stores the
// id. Words compare as the value does, and among equal values the first index wins.
constexpr int argmax_threads = 256;
__global__ void __launch_bounds__(argmax_threads) argmax_kernel(ArgmaxArgs a) {
  let_next_start();
  wait_for_previous();
  const int b = blockIdx.y;
  const float* row = a.logits + b * a.logits_stride;
  float best = -INFINITY;
  int best_index = a.vocab;
  for (int i = blockIdx.x * argmax_threads + threadIdx.x; i < a.vocab;
       i += gridDim.x * argmax_threads) {
    const float value = row[i];
    if (value > best) best = value, best_index = i;
  }
  const auto bits = __float_as_uint(best);
  const uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  auto word = static_cast<unsigned long long>(ordered) << 32 | ~static_cast<uint32_t>(best_index);
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const auto other = __shfl_xor_sync(0xffffffffu, word, step);
    word = other > word ? other : word;
  }
  if (threadIdx.x % 32 == 0) atomicMax(&a.slots[b].best, word);
  __syncthreads();
  if (threadIdx.x != 0) return;
  __threadfence();
  if (atomicAdd(&a.slots[b].blocks_done, 1u) != gridDim.x - 1) return;
  __threadfence();
  const auto top = atomicExch(&a.slots[b].best, 0ull);
  a.slots[b].blocks_done = 0;
  a.ids[b * a.ids_stride + *a.past + a.length] = static_cast<int32_t>(~static_cast<uint32_t>(top));
}

// Does not let its successor start early and ends with a fence: every later kernel of the step may
// read the position, and what earlier steps wrote, before its own wait.
__global__ void position_kernel(StepPosition p, int64_t past) {
  wait_for_previous();
  if (threadIdx.x == 0) *p.past = past;
  for (int i = threadIdx.x; i < p.batch; i += blockDim.x) {
    p.lengths[i] = p.length;
    p.lengths[p.batch + i] = static_cast<int32_t>(past + p.length);
  }
  __threadfence();
}

}  // namespace

void launch_select_last(const SelectLastArgs& a, const Queue& queue) {
  const auto kernel = a.dtype == DType::bf16 ? select_last_kernel<bf16> : select_last_kernel<float>;
  launch_kernel(kernel, dim3(a.batch), dim3(256), 0, queue, "select_last", a);
}

void launch_argmax(const ArgmaxArgs& a, const Queue& queue) {
  const int blocks = (a.vocab + argmax_threads * 8 - 1) / (argmax_threads * 8);
  launch_kernel(argmax_kernel, dim3(blocks, a.batch), dim3(argmax_threads), 0, queue, "argmax", a);
}

void launch_set_position(const StepPosition& p, int64_t past, const Queue& queue) {
  launch_kernel(position_kernel, dim3(1), dim3(64), 0, queue, "set_position", p, past);
}

int code_version() {
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, position_kernel), "code version");
  return attributes.ptxVersion;
}

}  // namespace tidemark::cuda
