// Rotary position embedding (arXiv 2104.09864), halves convention, with the cache append fused in.
// One block per token: its angles are computed once, in fp64 so that positions of millions keep
// their phase, and serve every head. Bytes alone otherwise.
#include "backend/cuda/device.cuh"
#include "backend/cuda/positions.h"

namespace tidemark::cuda {
namespace {

constexpr int threads = 256;

template <class T>
__global__ void __launch_bounds__(threads) rope_kernel(RopeArgs a) {
  __shared__ float cosines[max_rotary_pairs], sines[max_rotary_pairs];
  let_next_start();
  wait_for_previous();
  const int row = blockIdx.x, b = row / a.length, t = row % a.length;
  const int64_t position = *a.past + t;
  for (int j = threadIdx.x; j < a.pairs; j += threads) {
    constexpr double two_pi = 6.283185307179586476925;
    const double angle = static_cast<double>(position) * static_cast<double>(a.inv_freq[j]);
    const float reduced = static_cast<float>(fma(-rint(angle * (1.0 / two_pi)), two_pi, angle));
    float s, c;
    sincosf(reduced, &s, &c);
    cosines[j] = c * a.amplitude;
    sines[j] = s * a.amplitude;
  }
  __syncthreads();

  // A work item is a pair of a head; past the rotary pairs, an element that is only copied.
  const int tail = a.head_dim - 2 * a.pairs;
  const int items = a.pairs + tail;
  T* q = static_cast<T*>(a.q) + row * a.q_stride;
  T* k = a.k ? static_cast<T*>(a.k) + row * a.k_stride : nullptr;
  // In place, and to `copy` too where there is a cache.
  const auto rotate = [&](T* at, T* copy, int item) {
    if (item < a.pairs) {
      const float x = to_float(at[item]), y = to_float(at[item + a.pairs]);
      const T first = from_float<T>(x * cosines[item] - y * sines[item]);
      const T second = from_float<T>(y * cosines[item] + x * sines[item]);
      at[item] = first, at[item + a.pairs] = second;
      if (copy) copy[item] = first, copy[item + a.pairs] = second;
    } else if (copy) {
      copy[item + a.pairs] = at[item + a.pairs];
    }
  };
  for (int i = threadIdx.x; i < a.heads * items; i += threads)
    rotate(q + i / items * a.head_dim, nullptr, i % items);
  if (!k) return;
  const int64_t cache_row = int64_t{b} * a.kv_heads * a.capacity + position;
  for (int i = threadIdx.x; i < a.kv_heads * items; i += threads) {
    const int head = i / items;
    T* copy = a.k_cache ? static_cast<T*>(a.k_cache) + (cache_row + head * a.capacity) * a.head_dim
                        : nullptr;
    rotate(k + head * a.head_dim, copy, i % items);
  }
  if (!a.v_cache) return;
  const T* v = static_cast<const T*>(a.v) + row * a.v_stride;
  for (int i = threadIdx.x; i < a.kv_heads * a.value_dim; i += threads) {
    const int head = i / a.value_dim, d = i % a.value_dim;
    static_cast<T*>(a.v_cache)[(cache_row + head * a.capacity) * a.value_dim + d] = v[i];
  }
}

}  // namespace

void launch_rope(const RopeArgs& a, const Queue& queue) {
  const auto kernel = a.dtype == DType::bf16 ? rope_kernel<bf16> : rope_kernel<float>;
  launch_kernel(kernel, dim3(a.batch * a.length), dim3(threads), 0, queue, "rope", a);
}

}  // namespace tidemark::cuda
