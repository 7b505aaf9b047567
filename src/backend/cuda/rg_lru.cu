// RG-LRU (Griffin, arXiv 2402.19427, section 2.4). Algorithm: a thread per channel walks its
// tokens, four loaded ahead. A sequence that leaves the chip idle is cut into segments: a first
// kernel leaves of each what it adds to the state and the log of its whole decay, a second folds
// those before its own into the state it starts from and does all. Limits: bytes of the three
// inputs (twice when cut) and the output; five special functions per element.
#include <algorithm>

#include "backend/cuda/rg_lru.h"
#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {
namespace {

constexpr int threads_per_block = 128, tokens_ahead = 4, max_segments = 64;
constexpr int64_t min_segment = 32;

// In the workspace, [batch, segments, width] each.
struct Segments {
  float* log_decay = nullptr;
  float* added = nullptr;
  int count = 1;
  int64_t length = 0;  // tokens of each but the last
};

template <class T>
struct Inputs {
  T x[tokens_ahead], input[tokens_ahead], recurrent[tokens_ahead];
};

// Tokens [begin, end) of one channel: h and the log of their decay; writes out only where asked.
template <class T, bool kOutput>
__device__ inline void walk(const RgLruArgs& a, int64_t batch, int channel, int64_t begin,
                            int64_t end, bool fresh, float& h, float& log_decay) {
  const float slope = -8.0F * softplus<float>(to_float(static_cast<const T*>(a.param)[channel]));
  const int64_t row0 = batch * a.length;
  const T* const x = static_cast<const T*>(a.x) + row0 * a.x_stride + channel;
  const T* const input = static_cast<const T*>(a.input_gate) + row0 * a.input_stride + channel;
  const T* const recurrent =
      static_cast<const T*>(a.recurrent_gate) + row0 * a.recurrent_stride + channel;
  T* const out = static_cast<T*>(a.out) + row0 * a.out_stride + channel;
  const auto load = [&](int64_t t0) {
    Inputs<T> in;
#pragma unroll
    for (int i = 0; i < tokens_ahead; ++i) {
      const int64_t t = min(t0 + i, end - 1);
      in.x[i] = x[t * a.x_stride];
      in.input[i] = input[t * a.input_stride];
      in.recurrent[i] = recurrent[t * a.recurrent_stride];
    }
    return in;
  };
  Inputs<T> now = load(begin);
  for (int64_t t0 = begin; t0 < end; t0 += tokens_ahead) {
    const Inputs<T> next = t0 + tokens_ahead < end ? load(t0 + tokens_ahead) : now;
#pragma unroll
    for (int i = 0; i < tokens_ahead; ++i) {
      if (t0 + i >= end) break;
      const float log_a = slope * sigmoid(to_float(now.recurrent[i]));
      const float gated = sigmoid(to_float(now.input[i])) * to_float(now.x[i]);
      const float root = fresh && t0 + i == 0 ? 1.0F : sqrtf(-expm1f(2.0F * log_a));
      h = fmaf(expf(log_a), h, root * gated);
      log_decay += log_a;
      if constexpr (kOutput) out[(t0 + i) * a.out_stride] = from_float<T>(h);
    }
    now = next;
  }
}

// Block x: channels; block y: segment (all but the last); block z: sequence.
template <class T>
__global__ void __launch_bounds__(threads_per_block) segments_kernel(RgLruArgs a, Segments s) {
  let_next_start();
  wait_for_previous();
  const int channel = blockIdx.x * threads_per_block + threadIdx.x;
  if (channel >= a.width) return;
  const int64_t batch = blockIdx.z, segment = blockIdx.y;
  float h = 0, log_decay = 0;
  walk<T, false>(a, batch, channel, segment * s.length, (segment + 1) * s.length, *a.past == 0, h,
                 log_decay);
  const int64_t at = (batch * s.count + segment) * a.width + channel;
  s.added[at] = h;
  s.log_decay[at] = log_decay;
}

template <class T>
__global__ void __launch_bounds__(threads_per_block) rg_lru_kernel(RgLruArgs a, Segments s) {
  let_next_start();
  wait_for_previous();
  const int channel = blockIdx.x * threads_per_block + threadIdx.x;
  if (channel >= a.width) return;
  const int64_t batch = blockIdx.z, segment = blockIdx.y;
  const bool fresh = *a.past == 0;
  float* const state = a.state + batch * a.width + channel;
  float h = fresh ? 0.0F : *state;
  for (int64_t before = 0; before < segment; ++before) {
    const int64_t at = (batch * s.count + before) * a.width + channel;
    h = fmaf(expf(s.log_decay[at]), h, s.added[at]);
  }
  float log_decay = 0;
  const int64_t begin = segment * s.length, end = min(a.length, begin + s.length);
  walk<T, true>(a, batch, channel, begin, end, fresh, h, log_decay);
  // With segments others still read the old state: the last one's goes to the workspace, of which
  // it uses no entry otherwise, and a third kernel puts it in place.
  if (s.count == 1)
    *state = h;
  else if (segment == s.count - 1)
    s.added[(batch * s.count + segment) * a.width + channel] = h;
}

__global__ void __launch_bounds__(threads_per_block) keep_state_kernel(RgLruArgs a, Segments s) {
  let_next_start();
  wait_for_previous();
  const int channel = blockIdx.x * threads_per_block + threadIdx.x;
  if (channel >= a.width) return;
  const int64_t batch = blockIdx.z;
  a.state[batch * a.width + channel] = s.added[(batch * s.count + s.count - 1) * a.width + channel];
}

template <class T>
void launch(const RgLruArgs& a, const Segments& s, const Queue& queue) {
  const auto channels =
      static_cast<unsigned>((a.width + threads_per_block - 1) / threads_per_block);
  const auto batch = static_cast<unsigned>(a.batch), count = static_cast<unsigned>(s.count);
  if (s.count > 1)
    launch_kernel(segments_kernel<T>, dim3(channels, count - 1, batch), dim3(threads_per_block), 0,
                  queue, "rg_lru", a, s);
  launch_kernel(rg_lru_kernel<T>, dim3(channels, count, batch), dim3(threads_per_block), 0, queue,
                "rg_lru", a, s);
  if (s.count > 1)
    launch_kernel(keep_state_kernel, dim3(channels, 1, batch), dim3(threads_per_block), 0, queue,
                  "rg_lru", a, s);
}

}  // namespace

RgLruChoice choose_rg_lru(const RgLruArgs& a, int sm_count) {
  // 512 threads a multiprocessor hide most of the chain's latency; halves as long as all are full.
  const int64_t wanted = int64_t{sm_count} * 512 / std::max<int64_t>(1, a.batch * a.width);
  int64_t segments = std::clamp<int64_t>(wanted, 1, max_segments);
  segments = std::clamp<int64_t>(a.length / min_segment, 1, segments);
  const int64_t each = (a.length + segments - 1) / segments;
  return {static_cast<int>((a.length + each - 1) / each)};
}

std::string name(const RgLruChoice& c) {
  return "rg_lru, " + std::to_string(c.segments) + " segments";
}

size_t rg_lru_workspace_bytes(const RgLruArgs& a, const RgLruChoice& choice) {
  if (choice.segments == 1) return 0;
  return sizeof(float) * 2 * static_cast<size_t>(a.batch * choice.segments * a.width);
}

void launch_rg_lru(const RgLruArgs& a, const RgLruChoice& choice, void* workspace,
                   const Queue& queue) {
  Segments s;
  s.count = choice.segments;
  s.length = (a.length + s.count - 1) / s.count;
  if (s.count > 1) {
    s.log_decay = static_cast<float*>(workspace);
    s.added = s.log_decay + a.batch * s.count * a.width;
  }
  a.dtype == DType::bf16 ? launch<bf16>(a, s, queue) : launch<float>(a, s, queue);
}

}  // namespace tidemark::cuda
