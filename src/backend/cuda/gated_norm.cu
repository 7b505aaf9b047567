// Gated RMS norm (Mamba-2, arXiv 2405.21060, section 7). Algorithm: as norm.cu, the gate applied to
// the values in registers before the sum, or to the results. Limit: the bytes of x, z and out.
#include "backend/cuda/gated_norm.h"
#include "backend/cuda/row_vectors.cuh"

namespace tidemark::cuda {
namespace {

constexpr int max_loads = 4;

template <class T, bool kNormFirst, int kVector, int kThreads>
__global__ void __launch_bounds__(kThreads > norm_block_threads ? kThreads : norm_block_threads)
    gated_norm_kernel(GatedNormArgs a) {
  constexpr int per_block = kThreads > norm_block_threads ? 1 : norm_block_threads / kThreads;
  __shared__ float shared[512 / 32];
  const int thread = threadIdx.x % kThreads;
  const int64_t vector = int64_t{blockIdx.x} * per_block + threadIdx.x / kThreads;
  const int64_t row = vector / a.groups;
  const bool mine = row < a.rows;
  const int64_t column = vector % a.groups * a.width;
  Vector<T, kVector> weight[max_loads];
#pragma unroll
  for (int i = 0; i < max_loads; ++i) {
    const int at = (thread + i * kThreads) * kVector;
    if (at < a.width)
      weight[i] = load_vector<T, kVector>(static_cast<const T*>(a.weight) + column + at);
  }
  let_next_start();
  wait_for_previous();

  Vector<T, kVector> xs[max_loads], zs[max_loads];
#pragma unroll
  for (int i = 0; i < max_loads; ++i) {
    const int at = (thread + i * kThreads) * kVector;
    if (mine && at < a.width) {
      xs[i] = load_vector<T, kVector>(static_cast<const T*>(a.x) + row * a.x_stride + column + at);
      zs[i] = load_vector<T, kVector>(static_cast<const T*>(a.z) + row * a.z_stride + column + at);
    }
  }
  float x[max_loads][kVector];
  float sum = 0;
#pragma unroll
  for (int i = 0; i < max_loads; ++i) {
    const int at = (thread + i * kThreads) * kVector;
    if (!mine || at >= a.width) continue;
    to_floats(xs[i], x[i]);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      if (!kNormFirst) x[i][j] *= silu(to_float(zs[i].value[j]));
      sum += x[i][j] * x[i][j];
    }
  }
  sum = vector_sum<kThreads>(sum, shared);
  const float inverse = rsqrtf(sum / static_cast<float>(a.width) + a.eps);
#pragma unroll
  for (int i = 0; i < max_loads; ++i) {
    const int at = (thread + i * kThreads) * kVector;
    if (!mine || at >= a.width) continue;
    float y[kVector];
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      y[j] = x[i][j] * inverse * to_float(weight[i].value[j]);
      if (kNormFirst) y[j] *= silu(to_float(zs[i].value[j]));
    }
    store_vector<T>(static_cast<T*>(a.out) + row * a.out_stride + column + at, y);
  }
}

template <class T>
void launch(const GatedNormArgs& a, const NormChoice& choice, const Queue& queue) {
  if (a.width > max_loads * choice.vector * choice.threads)
    check(cudaErrorNotSupported, "gated norm: width above the kernel's limit");
  for_choice<T>(choice, [&](auto vector, auto threads) {
    constexpr int n = decltype(threads)::value, v = decltype(vector)::value;
    constexpr int block = n > norm_block_threads ? n : norm_block_threads, per_block = block / n;
    const auto kernel =
        a.norm_before_gate ? gated_norm_kernel<T, true, v, n> : gated_norm_kernel<T, false, v, n>;
    const int64_t vectors = a.rows * a.groups;
    launch_kernel(kernel, dim3(static_cast<unsigned>((vectors + per_block - 1) / per_block)),
                  dim3(block), 0, queue, "gated norm", a);
  });
}

}  // namespace

NormChoice choose_gated_norm(const GatedNormArgs& a) {
  const int64_t full = a.dtype == DType::bf16 ? 8 : 4;
  return choose_row_vectors(a.width, a.dtype,
                            is_multiple_of(a.x, 16) && is_multiple_of(a.z, 16) &&
                                is_multiple_of(a.out, 16) && is_multiple_of(a.weight, 16) &&
                                a.x_stride % full == 0 && a.z_stride % full == 0 &&
                                a.out_stride % full == 0);
}

void launch_gated_norm(const GatedNormArgs& a, const NormChoice& choice, const Queue& queue) {
  if (a.dtype == DType::bf16)
    launch<bf16>(a, choice, queue);
  else
    launch<float>(a, choice, queue);
}

}  // namespace tidemark::cuda
