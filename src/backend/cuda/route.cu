// Routing of a mixture of experts. Algorithm:
//   1. a warp per token: scores of all experts in shared memory, then the best of what is left,
//      top_k times, by a reduction over (value, index) of which the first index wins ties;
//   2. a block per expert counts the choices before its own, which is where its slots begin, and
//      gives its own their slots in the order of tokens: deterministic, with no sort, no atomics
//      and nothing for the host to read.
// Limits: 2 reads every choice once per expert, from L2; small beside the experts' products.
#include <algorithm>

#include "backend/cuda/route.h"
#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {
namespace {

constexpr unsigned all_lanes = 0xffffffffu;
constexpr int warps_per_block = 4;
constexpr size_t shared_limit = 48 * 1024;

struct Best {
  float value;
  int index;
};
__device__ inline Best better(Best a, Best b) {
  return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
}
// The first of the largest of values[0, count), over the lanes of a warp; it is then taken out.
__device__ inline Best take_best(float* values, int count) {
  const int lane = threadIdx.x % 32;
  Best best{-INFINITY, count};
  for (int i = lane; i < count; i += 32) best = better(best, {values[i], i});
#pragma unroll
  for (int step = 16; step > 0; step /= 2)
    best = better(best, {__shfl_xor_sync(all_lanes, best.value, step),
                         __shfl_xor_sync(all_lanes, best.index, step)});
  best.index = min(best.index, count - 1);  // of nothing but NaNs, some expert all the same
  __syncwarp();
  if (lane == 0) values[best.index] = -INFINITY;
  __syncwarp();
  return best;
}

// Takes out of `choice` all experts but those of the top_groups groups whose two best sum highest.
__device__ inline void keep_best_groups(const RouteArgs& a, float* choice, float* sums) {
  const int lane = threadIdx.x % 32, members = a.experts / a.groups;
  for (int g = lane; g < a.groups; g += 32) {
    float first = -INFINITY, second = -INFINITY;
    for (int i = 0; i < members; ++i) {
      const float v = choice[g * members + i];
      if (v > first)
        second = first, first = v;
      else
        second = fmaxf(second, v);
    }
    sums[g] = members > 1 ? first + second : first;
  }
  __syncwarp();
  for (int i = 0; i < a.top_groups; ++i) {
    const Best best = take_best(sums, a.groups);
    if (lane == 0) sums[best.index] = NAN;  // kept: no comparison finds it again
    __syncwarp();
  }
  for (int e = lane; e < a.experts; e += 32)
    if (!isnan(sums[e / members])) choice[e] = -INFINITY;
  __syncwarp();
}

// shared: per warp p [experts], choice [experts], sums [groups].
template <class T>
__global__ void __launch_bounds__(warps_per_block * 32) choose_kernel(RouteArgs a) {
  extern __shared__ float shared[];
  let_next_start();
  wait_for_previous();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t row = int64_t{blockIdx.x} * (blockDim.x / 32) + warp;
  if (row >= a.rows) return;
  float* const p = shared + warp * (2 * a.experts + a.groups);
  float* const choice = p + a.experts;
  const float* const logits = a.logits + row * a.logits_stride;
  if (a.score == RouterScore::softmax) {
    float peak = -INFINITY, total = 0;
    for (int e = lane; e < a.experts; e += 32) peak = fmaxf(peak, logits[e]);
    peak = lane_max(peak);
    for (int e = lane; e < a.experts; e += 32) {
      p[e] = expf(logits[e] - peak);
      total += p[e];
    }
    total = lane_sum(total);
    for (int e = lane; e < a.experts; e += 32) p[e] /= total;
  } else {
    for (int e = lane; e < a.experts; e += 32) p[e] = 1.0F / (1.0F + expf(-logits[e]));
  }
  for (int e = lane; e < a.experts; e += 32)
    choice[e] = p[e] + (a.bias ? to_float(static_cast<const T*>(a.bias)[e]) : 0.0F);
  __syncwarp();
  if (a.groups > 1) keep_best_groups(a, choice, choice + a.experts);

  float total = 0;
  for (int j = 0; j < a.top_k; ++j) {
    const int expert = take_best(choice, a.experts).index;
    total += p[expert];
    if (lane == 0) {
      a.chosen[row * a.top_k + j] = expert;
      a.weights[row * a.weights_stride + j] = p[expert];
    }
  }
  __syncwarp();
  const float factor = a.normalize ? a.scale / total : a.scale;
  for (int j = lane; j < a.top_k; j += 32) a.weights[row * a.weights_stride + j] *= factor;
}

constexpr int layout_threads = 256, layout_warps = layout_threads / 32;

__global__ void __launch_bounds__(layout_threads) layout_kernel(RouteArgs a) {
  __shared__ int before[layout_warps], own[layout_warps];
  let_next_start();
  wait_for_previous();
  const int expert = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  // Each warp owns a run of choices; slots are below 2^31 by the width of `token`.
  const int slots = static_cast<int>(a.rows * a.top_k);
  const int run = ((slots + layout_warps - 1) / layout_warps + 31) / 32 * 32;
  const int begin = min(slots, warp * run), end = min(slots, begin + run);
  // Several loads ahead: the loops are short of everything but latency.
  constexpr int ahead = 8;
  const auto load = [&](int i0, int(&chosen)[ahead]) {
#pragma unroll
    for (int j = 0; j < ahead; ++j) {
      const int i = i0 + j * 32 + lane;
      chosen[j] = i < end ? a.chosen[i] : a.experts;
    }
  };
  int less = 0, mine = 0;
  for (int i0 = begin; i0 < end; i0 += ahead * 32) {
    int chosen[ahead];
    load(i0, chosen);
#pragma unroll
    for (int j = 0; j < ahead; ++j) less += chosen[j] < expert, mine += chosen[j] == expert;
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    less += __shfl_xor_sync(all_lanes, less, step);
    mine += __shfl_xor_sync(all_lanes, mine, step);
  }
  if (lane == 0) before[warp] = less, own[warp] = mine;
  __syncthreads();
  int slot = 0;
  for (int w = 0; w < layout_warps; ++w) slot += before[w];
  if (threadIdx.x == 0) {
    a.first[expert * a.first_stride] = slot;
    if (expert == a.experts - 1) a.first[a.experts * a.first_stride] = slots;
  }
  if (mine == 0) return;
  for (int w = 0; w < warp; ++w) slot += own[w];
  for (int i0 = begin; i0 < end; i0 += ahead * 32) {
    int chosen[ahead];
    load(i0, chosen);
#pragma unroll
    for (int j = 0; j < ahead; ++j) {
      const unsigned hits = __ballot_sync(all_lanes, chosen[j] == expert);
      if (chosen[j] == expert) {
        const int i = i0 + j * 32 + lane, row = i / a.top_k;
        const int at = slot + __popc(hits & ((1u << lane) - 1));
        a.token[at * a.token_stride] = row;
        a.position[row * a.position_stride + i % a.top_k] = at;
      }
      slot += __popc(hits);
    }
  }
}

}  // namespace

void launch_route(const RouteArgs& a, const Queue& queue) {
  const size_t per_warp = sizeof(float) * static_cast<size_t>(2 * a.experts + a.groups);
  if (per_warp > shared_limit) check(cudaErrorNotSupported, "route: number of experts");
  const auto warps = std::min<size_t>(warps_per_block, shared_limit / per_warp);
  const auto kernel = a.dtype == DType::bf16 ? choose_kernel<bf16> : choose_kernel<float>;
  const auto blocks = static_cast<unsigned>((static_cast<size_t>(a.rows) + warps - 1) / warps);
  launch_kernel(kernel, dim3(blocks), dim3(static_cast<unsigned>(warps * 32)), warps * per_warp,
                queue, "route", a);
  launch_kernel(layout_kernel, dim3(static_cast<unsigned>(a.experts)), dim3(layout_threads), 0,
                queue, "route", a);
}

}  // namespace tidemark::cuda
