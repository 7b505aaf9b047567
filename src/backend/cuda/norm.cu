// RMS norm (arXiv 1910.07467) and layer norm (arXiv 1607.06450). Algorithm: the vector is read once
// into the registers of 32 to 1024 threads, 16 bytes at a time; sums in fp32 by shuffles, over
// warps through shared memory; layer norm sums squared distances from the mean, not squares.
// Weights are read before the kernel waits for its predecessor. Limit: the bytes of x and out; at
// one row, latency.
#include "backend/cuda/row_vectors.cuh"

namespace tidemark::cuda {
namespace {

template <class T, NormKind kKind, int kVector, bool kWarp>
__global__ void norm_kernel(NormArgs a) {
  __shared__ float shared[32];
  const Place<kVector, kWarp> place(a.groups, a.width);
  const bool mine = place.row < a.rows;

  Vector<T, kVector> weight[norm_loads], x[norm_loads];
#pragma unroll
  for (int i = 0; i < norm_loads; ++i)
    if (a.weight != nullptr && place.at(i) < a.width)
      weight[i] = load_vector<T, kVector>(static_cast<const T*>(a.weight) + place.at(i));
  let_next_start();
  wait_for_previous();

  const T* const from = static_cast<const T*>(a.x) + place.row * a.x_stride + place.column;
#pragma unroll
  for (int i = 0; i < norm_loads; ++i)
    if (mine && place.at(i) < a.width) x[i] = load_vector<T, kVector>(from + place.at(i));
  float sum = 0;
#pragma unroll
  for (int i = 0; i < norm_loads; ++i)
    if (mine && place.at(i) < a.width)
#pragma unroll
      for (int j = 0; j < kVector; ++j) {
        const float v = to_float(x[i].value[j]);
        sum += kKind == NormKind::layer ? v : v * v;
      }
  sum = vector_sum<kWarp>(sum, shared);
  float mean = 0, squares = sum;
  if constexpr (kKind == NormKind::layer) {
    mean = sum / static_cast<float>(a.width);
    squares = 0;
#pragma unroll
    for (int i = 0; i < norm_loads; ++i)
      if (mine && place.at(i) < a.width)
#pragma unroll
        for (int j = 0; j < kVector; ++j) {
          const float v = to_float(x[i].value[j]) - mean;
          squares += v * v;
        }
    squares = vector_sum<kWarp>(squares, shared);
  }
  const float inverse = rsqrtf(squares / static_cast<float>(a.width) + a.eps);
  T* const out = static_cast<T*>(a.out) + place.row * a.out_stride + place.column;
#pragma unroll
  for (int i = 0; i < norm_loads; ++i) {
    if (!mine || place.at(i) >= a.width) continue;
    float y[kVector];
#pragma unroll
    for (int j = 0; j < kVector; ++j)
      y[j] = (to_float(x[i].value[j]) - mean) * inverse *
             (a.weight != nullptr ? to_float(weight[i].value[j]) + a.weight_offset : 1.0F);
    if (kKind == NormKind::layer && a.bias != nullptr) {
      float bias[kVector];
      to_floats(load_vector<T, kVector>(static_cast<const T*>(a.bias) + place.at(i)), bias);
#pragma unroll
      for (int j = 0; j < kVector; ++j) y[j] += bias[j];
    }
    store_vector<T>(out + place.at(i), y);
  }
}

template <class T>
void launch(const NormArgs& a, const NormChoice& choice, const Queue& queue) {
  if (choice.threads > 1024) check(cudaErrorNotSupported, "norm: width above the kernel's limit");
  for_choice<T>(choice, [&](auto vector, auto warp) {
    constexpr int v = decltype(vector)::value;
    constexpr bool w = decltype(warp)::value;
    const auto kernel = a.kind == NormKind::rms ? norm_kernel<T, NormKind::rms, v, w>
                                                : norm_kernel<T, NormKind::layer, v, w>;
    const int64_t vectors = a.rows * a.groups, per_block = w ? norm_block_threads / 32 : 1;
    launch_kernel(kernel, dim3(static_cast<unsigned>((vectors + per_block - 1) / per_block)),
                  dim3(static_cast<unsigned>(w ? norm_block_threads : choice.threads)), 0, queue,
                  "norm", a);
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
