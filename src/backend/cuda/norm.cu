// RMS norm (arXiv 1910.07467) and layer norm (arXiv 1607.06450). Algorithm: the vector is read once
// into the registers of 32 to 512 threads, 16 bytes at a time; sums in fp32 by shuffles, over warps
// through shared memory; layer norm sums squared distances from the mean, not squares. Weights are
// read before the kernel waits for its predecessor. Limit: the bytes of x and out; at one row,
// latency.
#include "backend/cuda/row_vectors.cuh"

namespace tidemark::cuda {
namespace {

constexpr int max_loads = 4;

template <class T, NormKind kKind, int kVector, int kThreads>
__global__ void __launch_bounds__(kThreads > norm_block_threads ? kThreads : norm_block_threads)
    norm_kernel(NormArgs a) {
  constexpr int per_block = kThreads > norm_block_threads ? 1 : norm_block_threads / kThreads;
  __shared__ float shared[512 / 32];
  const int thread = threadIdx.x % kThreads;
  const int64_t vector = int64_t{blockIdx.x} * per_block + threadIdx.x / kThreads;
  const int64_t row = vector / a.groups;
  const bool mine = row < a.rows;
  const int64_t column = vector % a.groups * a.width;

  float scale[max_loads][kVector];
#pragma unroll
  for (int i = 0; i < max_loads; ++i) {
    const int at = (thread + i * kThreads) * kVector;
    if (at < a.width) {
      to_floats(load_vector<T, kVector>(static_cast<const T*>(a.weight) + at), scale[i]);
#pragma unroll
      for (int j = 0; j < kVector; ++j) scale[i][j] += a.weight_offset;
    }
  }
  let_next_start();
  wait_for_previous();

  float x[max_loads][kVector];
  float sum = 0;
#pragma unroll
  for (int i = 0; i < max_loads; ++i) {
    const int at = (thread + i * kThreads) * kVector;
    if (mine && at < a.width) {
      to_floats(
          load_vector<T, kVector>(static_cast<const T*>(a.x) + row * a.x_stride + column + at),
          x[i]);
    } else {
#pragma unroll
      for (int j = 0; j < kVector; ++j) x[i][j] = 0;
    }
#pragma unroll
    for (int j = 0; j < kVector; ++j) sum += kKind == NormKind::layer ? x[i][j] : x[i][j] * x[i][j];
  }
  sum = vector_sum<kThreads>(sum, shared);
  float mean = 0, squares = sum;
  if constexpr (kKind == NormKind::layer) {
    mean = sum / static_cast<float>(a.width);
    squares = 0;
#pragma unroll
    for (int i = 0; i < max_loads; ++i)
      if ((thread + i * kThreads) * kVector < a.width)
#pragma unroll
        for (int j = 0; j < kVector; ++j) squares += (x[i][j] - mean) * (x[i][j] - mean);
    squares = vector_sum<kThreads>(squares, shared);
  }
  const float inverse = rsqrtf(squares / static_cast<float>(a.width) + a.eps);
#pragma unroll
  for (int i = 0; i < max_loads; ++i) {
    const int at = (thread + i * kThreads) * kVector;
    if (!mine || at >= a.width) continue;
    float y[kVector];
#pragma unroll
    for (int j = 0; j < kVector; ++j) y[j] = (x[i][j] - mean) * inverse * scale[i][j];
    if (kKind == NormKind::layer && a.bias != nullptr) {
      float bias[kVector];
      to_floats(load_vector<T, kVector>(static_cast<const T*>(a.bias) + at), bias);
#pragma unroll
      for (int j = 0; j < kVector; ++j) y[j] += bias[j];
    }
    store_vector<T>(static_cast<T*>(a.out) + row * a.out_stride + column + at, y);
  }
}

template <class T>
void launch(const NormArgs& a, const NormChoice& choice, const Queue& queue) {
  if (a.width > max_loads * choice.vector * choice.threads)
    check(cudaErrorNotSupported, "norm: width above the kernel's limit");
  for_choice<T>(choice, [&](auto vector, auto threads) {
    constexpr int n = decltype(threads)::value, v = decltype(vector)::value;
    constexpr int block = n > norm_block_threads ? n : norm_block_threads, per_block = block / n;
    const auto kernel = a.kind == NormKind::rms ? norm_kernel<T, NormKind::rms, v, n>
                                                : norm_kernel<T, NormKind::layer, v, n>;
    const int64_t vectors = a.rows * a.groups;
    launch_kernel(kernel, dim3(static_cast<unsigned>((vectors + per_block - 1) / per_block)),
                  dim3(block), 0, queue, "norm", a);
  });
}

}  // namespace

NormChoice choose_norm(const NormArgs& a) {
  const int64_t full = a.dtype == DType::bf16 ? 8 : 4;
  return choose_row_vectors(a.width, a.dtype,
                            is_multiple_of(a.x, 16) && is_multiple_of(a.out, 16) &&
                                is_multiple_of(a.weight, 16) && is_multiple_of(a.bias, 16) &&
                                a.x_stride % full == 0 && a.out_stride % full == 0);
}

std::string name(const NormChoice& c) {
  return "norm, " + std::to_string(c.threads) + " threads by " + std::to_string(c.vector);
}

void launch_norm(const NormArgs& a, const NormChoice& choice, const Queue& queue) {
  if (a.dtype == DType::bf16)
    launch<bf16>(a, choice, queue);
  else
    launch<float>(a, choice, queue);
}

}  // namespace tidemark::cuda
