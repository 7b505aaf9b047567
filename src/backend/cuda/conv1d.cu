// Causal depthwise convolution of state-space models (Mamba, arXiv 2312.00752, figure 3).
// Algorithm:
//   1. a thread owns 16 bytes of channels and a run of tokens; weights and the last width - 1
//   inputs
//      stay in registers, so every input is loaded once, but for the first width - 1 of a run;
//   2. the next four rows are loaded before the current four are used;
//   3. the first run of a sequence begins with the carried inputs;
//   4. its thread also writes the new ones, from x: no other thread reads the old, so nothing
//   races.
// A step of one token has a kernel of its own, a channel per thread: all but x is loaded before it
// waits for its predecessor. Limit: the bytes of x and out (and 3/run of x again, mostly from L2).
#include <algorithm>

#include "backend/cuda/conv1d.h"
#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {
namespace {

constexpr int threads_per_block = 128;
constexpr int rows_ahead = 4;

// [kVector channels, k] elements that lie together, as whole vectors.
template <class T, int kVector, int k>
__device__ void load_together(const T* from, float (&to)[k][kVector]) {
#pragma unroll
  for (int i = 0; i < k; ++i) {
    float v[kVector];
    to_floats(load_vector<T, kVector>(from + i * kVector), v);
#pragma unroll
    for (int j = 0; j < kVector; ++j) to[(i * kVector + j) % k][(i * kVector + j) / k] = v[j];
  }
}

// Thread x: channels; block y: run; block z: sequence.
template <class T, int kWidth, int kVector>
__global__ void __launch_bounds__(threads_per_block) conv1d_kernel(Conv1dArgs a, int run) {
  constexpr int kBefore = kWidth - 1;
  const int channel = (blockIdx.x * threads_per_block + threadIdx.x) * kVector;
  if (channel >= a.channels) return;
  const int64_t batch = blockIdx.z;
  float w[kWidth][kVector], bias[kVector] = {};
  load_together<T, kVector, kWidth>(static_cast<const T*>(a.weight) + int64_t{channel} * kWidth, w);
  if (a.bias != nullptr)
    to_floats(load_vector<T, kVector>(static_cast<const T*>(a.bias) + channel), bias);
  let_next_start();
  wait_for_previous();

  const T* const x = static_cast<const T*>(a.x) + batch * a.length * a.x_stride + channel;
  T* const out = static_cast<T*>(a.out) + batch * a.length * a.out_stride + channel;
  const auto load = [&](int64_t t) { return load_vector<T, kVector>(x + t * a.x_stride); };
  const int64_t begin = int64_t{blockIdx.y} * run;
  const int64_t end = min(a.length, begin + run);

  Vector<T, kVector> rows[rows_ahead];
#pragma unroll
  for (int i = 0; i < rows_ahead; ++i)
    if (begin + i < end) rows[i] = load(begin + i);
  T* const state = static_cast<T*>(a.state) + (batch * a.channels + channel) * kBefore;
  float before[kBefore][kVector];  // oldest first
  if (begin == 0) {
    const bool carried = a.past_ptr != nullptr && *a.past_ptr != 0;
    load_together<T, kVector, kBefore>(state, before);
    if (!carried)
#pragma unroll
      for (int i = 0; i < kBefore; ++i)
#pragma unroll
        for (int j = 0; j < kVector; ++j) before[i][j] = 0;
  } else {
#pragma unroll
    for (int i = 0; i < kBefore; ++i) to_floats(load(begin - kBefore + i), before[i]);
  }

  const auto step = [&](int64_t t, const Vector<T, kVector>& row) {
    float now[kVector], y[kVector];
    to_floats(row, now);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      float sum = fmaf(w[kBefore][j], now[j], bias[j]);
#pragma unroll
      for (int k = 0; k < kBefore; ++k) sum = fmaf(w[k][j], before[k][j], sum);
      y[j] = a.silu ? silu(sum) : sum;
#pragma unroll
      for (int k = 0; k + 1 < kBefore; ++k) before[k][j] = before[k + 1][j];
      before[kBefore - 1][j] = now[j];
    }
    store_vector<T>(out + t * a.out_stride, y);
  };
  int64_t t = begin;
#pragma unroll 1
  for (; t + rows_ahead <= end; t += rows_ahead) {
    Vector<T, kVector> next[rows_ahead];
#pragma unroll
    for (int i = 0; i < rows_ahead; ++i)
      if (t + rows_ahead + i < end) next[i] = load(t + rows_ahead + i);
#pragma unroll
    for (int i = 0; i < rows_ahead; ++i) step(t + i, rows[i]);
#pragma unroll
    for (int i = 0; i < rows_ahead; ++i) rows[i] = next[i];
  }
#pragma unroll 1
  for (; t < end; ++t) step(t, load(t));

  if (begin == 0) {
    // The last inputs: those in registers, or, where other threads went on, those of the last rows.
    if (end < a.length)
#pragma unroll
      for (int i = 0; i < kBefore; ++i) to_floats(load(a.length - kBefore + i), before[i]);
#pragma unroll
    for (int i = 0; i < kBefore; ++i) {
      float v[kVector];
#pragma unroll
      for (int j = 0; j < kVector; ++j)
        v[j] = before[(i * kVector + j) % kBefore][(i * kVector + j) / kBefore];
      store_vector<T>(state + i * kVector, v);
    }
  }
}

// The carried inputs were written by an earlier step, and the position by the kernel that begins
// this one (select.cu): neither needs the wait.
template <class T, int kWidth>
__global__ void __launch_bounds__(threads_per_block) conv1d_token_kernel(Conv1dArgs a) {
  constexpr int kBefore = kWidth - 1;
  const int channel = blockIdx.x * threads_per_block + threadIdx.x;
  const int64_t batch = blockIdx.y;
  const bool mine = channel < a.channels;
  T* const state = static_cast<T*>(a.state) + (batch * a.channels + channel) * kBefore;
  float w[kWidth], bias = 0;
  T before[kBefore];
  const bool carried = a.past_ptr != nullptr && *a.past_ptr != 0;
  if (mine) {
#pragma unroll
    for (int k = 0; k < kWidth; ++k)
      w[k] = to_float(static_cast<const T*>(a.weight)[int64_t{channel} * kWidth + k]);
#pragma unroll
    for (int k = 0; k < kBefore; ++k) before[k] = carried ? state[k] : from_float<T>(0);
    if (a.bias != nullptr) bias = to_float(static_cast<const T*>(a.bias)[channel]);
  }
  let_next_start();
  wait_for_previous();
  if (!mine) return;
  const T now = static_cast<const T*>(a.x)[batch * a.x_stride + channel];
  float sum = fmaf(w[kBefore], to_float(now), bias);
#pragma unroll
  for (int k = 0; k < kBefore; ++k) sum = fmaf(w[k], to_float(before[k]), sum);
  static_cast<T*>(a.out)[batch * a.out_stride + channel] = from_float<T>(a.silu ? silu(sum) : sum);
#pragma unroll
  for (int k = 0; k < kBefore; ++k) state[k] = k + 1 < kBefore ? before[k + 1] : now;
}

template <class T, int kVector>
void launch(const Conv1dArgs& a, const Conv1dChoice& choice, const Queue& queue) {
  if (a.width < 2 || a.width > 4) check(cudaErrorNotSupported, "conv1d: width other than 2, 3, 4");
  const auto kernel = a.width == 2   ? conv1d_kernel<T, 2, kVector>
                      : a.width == 3 ? conv1d_kernel<T, 3, kVector>
                                     : conv1d_kernel<T, 4, kVector>;
  if (a.length == 1) {
    const auto token_kernel = a.width == 2   ? conv1d_token_kernel<T, 2>
                              : a.width == 3 ? conv1d_token_kernel<T, 3>
                                             : conv1d_token_kernel<T, 4>;
    const dim3 grid(static_cast<unsigned>((a.channels + threads_per_block - 1) / threads_per_block),
                    static_cast<unsigned>(a.batch));
    return launch_kernel(token_kernel, grid, dim3(threads_per_block), 0, queue, "conv1d", a);
  }
  constexpr int channels = threads_per_block * kVector;
  // Block y is limited to 65535: longer sequences take longer runs.
  const int64_t run = std::max<int64_t>({choice.run, a.width - 1, (a.length + 65534) / 65535});
  const dim3 grid(static_cast<unsigned>((a.channels + channels - 1) / channels),
                  static_cast<unsigned>((a.length + run - 1) / run),
                  static_cast<unsigned>(a.batch));
  launch_kernel(kernel, grid, dim3(threads_per_block), 0, queue, "conv1d", a,
                static_cast<int>(run));
}

}  // namespace

Conv1dChoice choose_conv1d(const Conv1dArgs& a, int sm_count) {
  const int full = a.dtype == DType::bf16 ? 8 : 4;
  Conv1dChoice choice;
  if (is_multiple_of(a.x, 16) && is_multiple_of(a.out, 16) && is_multiple_of(a.weight, 16) &&
      is_multiple_of(a.bias, 16) && is_multiple_of(a.state, 16) && a.x_stride % full == 0 &&
      a.out_stride % full == 0 && a.channels % full == 0)
    choice.vector = 4;
  if (a.length == 1) return {1, 1};
  // Long runs re-read less; shorter ones where the threads would not fill the device.
  const int64_t threads = a.batch * a.length * a.channels / choice.vector;
  choice.run = 32;
  while (choice.run > 4 && threads / choice.run < int64_t{sm_count} * 256) choice.run /= 2;
  return choice;
}

std::string name(const Conv1dChoice& c) {
  return "conv1d, " + std::to_string(c.vector) + " channels by " + std::to_string(c.run) +
         " tokens";
}

void launch_conv1d(const Conv1dArgs& a, const Conv1dChoice& choice, const Queue& queue) {
  if (a.dtype == DType::bf16)
    choice.vector == 8   ? launch<bf16, 8>(a, choice, queue)
    : choice.vector == 4 ? launch<bf16, 4>(a, choice, queue)
                         : launch<bf16, 1>(a, choice, queue);
  else
    choice.vector == 4 ? launch<float, 4>(a, choice, queue) : launch<float, 1>(a, choice, queue);
}

}  // namespace tidemark::cuda
