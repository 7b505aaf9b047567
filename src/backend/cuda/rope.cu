// Rotary position embedding (arXiv 2104.09864), halves convention, with the cache append fused in.
// One block per token: its angles are computed once, in fp64 so that positions of millions keep
// their phase, before the wait for the predecessor, and serve every head. Bytes alone otherwise: 16
// of them a thread where rows and heads are aligned to that.
#include "backend/cuda/positions.h"
#include "backend/cuda/rotary.cuh"
#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {
namespace {

constexpr int threads = 128;

template <class T, int kVector>
__global__ void __launch_bounds__(threads) rope_kernel(RopeArgs a) {
  __shared__ float cosines[max_rotary_pairs], sines[max_rotary_pairs];
  const int row = blockIdx.x, b = row / a.length, t = row % a.length;
  // Set by the step's first kernel, which had ended before any other could start (select.cu).
  const int64_t position = *a.past + t;
  for (int j = threadIdx.x; j < a.pairs; j += threads) {
    float s, c;
    rotation(position, a.inv_freq[j], c, s);
    cosines[j] = c * a.amplitude;
    sines[j] = s * a.amplitude;
  }
  __syncthreads();
  let_next_start();
  wait_for_previous();

  using Run = Vector<T, kVector>;
  // A work item is a run of pairs of a head; past the rotary pairs, of elements that are only
  // copied.
  const int pair_items = a.pairs / kVector;
  const int items = pair_items + (a.head_dim - 2 * a.pairs) / kVector;
  // In place, and to `copy` too where there is a cache.
  const auto rotate = [&](T* at, T* copy, int item) {
    if (item < pair_items) {
      const int j0 = item * kVector;
      float x[kVector], y[kVector], first[kVector], second[kVector];
      to_floats(load_vector<T, kVector>(at + j0), x);
      to_floats(load_vector<T, kVector>(at + j0 + a.pairs), y);
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        first[i] = x[i] * cosines[j0 + i] - y[i] * sines[j0 + i];
        second[i] = y[i] * cosines[j0 + i] + x[i] * sines[j0 + i];
      }
      store_vector<T>(at + j0, first), store_vector<T>(at + j0 + a.pairs, second);
      if (copy) store_vector<T>(copy + j0, first), store_vector<T>(copy + j0 + a.pairs, second);
    } else if (copy) {
      const int at0 = 2 * a.pairs + (item - pair_items) * kVector;
      *reinterpret_cast<Run*>(copy + at0) = *reinterpret_cast<const Run*>(at + at0);
    }
  };
  T* q = static_cast<T*>(a.q) + row * a.q_stride;
  for (int i = threadIdx.x; i < a.heads * items; i += threads)
    rotate(q + i / items * a.head_dim, nullptr, i % items);
  if (!a.k) return;
  T* k = static_cast<T*>(a.k) + row * a.k_stride;
  const int64_t cache_row = int64_t{b} * a.kv_heads * a.capacity + position;
  for (int i = threadIdx.x; i < a.kv_heads * items; i += threads) {
    const int head = i / items;
    T* copy = a.k_cache ? static_cast<T*>(a.k_cache) + (cache_row + head * a.capacity) * a.head_dim
                        : nullptr;
    rotate(k + head * a.head_dim, copy, i % items);
  }
  if (!a.v_cache) return;
  const T* v = static_cast<const T*>(a.v) + row * a.v_stride;
  const int v_items = a.value_dim / kVector;
  for (int i = threadIdx.x; i < a.kv_heads * v_items; i += threads) {
    const int head = i / v_items, d = i % v_items * kVector;
    *reinterpret_cast<Run*>(static_cast<T*>(a.v_cache) +
                            (cache_row + head * a.capacity) * a.value_dim + d) =
        *reinterpret_cast<const Run*>(v + head * a.value_dim + d);
  }
}

}  // namespace

void launch_rope(const RopeArgs& a, const Queue& queue) {
  const int full = a.dtype == DType::bf16 ? 8 : 4;
  bool aligned = true;
  for (const void* p : {static_cast<const void*>(a.q), static_cast<const void*>(a.k), a.v,
                        static_cast<const void*>(a.k_cache), static_cast<const void*>(a.v_cache)})
    aligned = aligned && is_multiple_of(p, 16);
  for (const int64_t n : {a.q_stride, a.k_stride, a.v_stride, int64_t{a.head_dim},
                          int64_t{a.value_dim}, int64_t{a.pairs}})
    aligned = aligned && n % full == 0;
  const auto kernel = a.dtype == DType::bf16
                          ? (aligned ? rope_kernel<bf16, 8> : rope_kernel<bf16, 1>)
                          : (aligned ? rope_kernel<float, 4> : rope_kernel<float, 1>);
  launch_kernel(kernel, dim3(a.batch * a.length), dim3(threads), 0, queue, "rope", a);
}

}  // namespace tidemark::cuda
