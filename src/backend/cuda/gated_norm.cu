// Gated RMS norm (Mamba-2, arXiv 2405.21060, section 7). Algorithm: as norm.cu, the gate applied to
// the values in registers before the sum, or to the results. Limit: the bytes of x, z and out.
#include "backend/cuda/gated_norm.h"
#include "backend/cuda/row_vectors.cuh"

namespace tidemark::cuda {
namespace {

template <class T, bool kNormFirst, int kVector, bool kWarp>
__global__ void gated_norm_kernel(GatedNormArgs a) {
  __shared__ float shared[32];
  const Place<kVector, kWarp> place(a.groups, a.width);
  const bool mine = place.row < a.rows;
  Vector<T, kVector> weight[norm_loads], xs[norm_loads], zs[norm_loads];
#pragma unroll
  for (int i = 0; i < norm_loads; ++i)
    if (place.at(i) < a.width)
      weight[i] = load_vector<T, kVector>(static_cast<const T*>(a.weight) +
                                          (a.shared_weight ? 0 : place.column) + place.at(i));
  let_next_start();
  wait_for_previous();

  const T* const x_from = static_cast<const T*>(a.x) + place.row * a.x_stride + place.column;
  const T* const z_from = static_cast<const T*>(a.z) + place.row * a.z_stride + place.column;
#pragma unroll
  for (int i = 0; i < norm_loads; ++i)
    if (mine && place.at(i) < a.width) {
      xs[i] = load_vector<T, kVector>(x_from + place.at(i));
      zs[i] = load_vector<T, kVector>(z_from + place.at(i));
    }
  float x[norm_loads][kVector];
  float sum = 0;
#pragma unroll
  for (int i = 0; i < norm_loads; ++i) {
    if (!mine || place.at(i) >= a.width) continue;
    to_floats(xs[i], x[i]);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      if (!kNormFirst) x[i][j] *= silu(to_float(zs[i].value[j]));
      sum += x[i][j] * x[i][j];
    }
  }
  sum = vector_sum<kWarp>(sum, shared);
  const float inverse = rsqrtf(sum / static_cast<float>(a.width) + a.eps);
  T* const out = static_cast<T*>(a.out) + place.row * a.out_stride + place.column;
#pragma unroll
  for (int i = 0; i < norm_loads; ++i) {
    if (!mine || place.at(i) >= a.width) continue;
    float y[kVector];
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      y[j] = x[i][j] * inverse * to_float(weight[i].value[j]);
      if (kNormFirst) y[j] *= silu(to_float(zs[i].value[j]));
    }
    store_vector<T>(out + place.at(i), y);
  }
}

template <class T>
void launch(const GatedNormArgs& a, const NormChoice& choice, const Queue& queue) {
  if (choice.threads > 1024)
    check(cudaErrorNotSupported, "gated norm: width above the kernel's limit");
  for_choice<T>(choice, [&](auto vector, auto warp) {
    constexpr int v = decltype(vector)::value;
    constexpr bool w = decltype(warp)::value;
    const auto kernel =
        a.norm_before_gate ? gated_norm_kernel<T, true, v, w> : gated_norm_kernel<T, false, v, w>;
    const int64_t vectors = a.rows * a.groups, per_block = w ? norm_block_threads / 32 : 1;
    launch_kernel(kernel, dim3(static_cast<unsigned>((vectors + per_block - 1) / per_block)),
                  dim3(static_cast<unsigned>(w ? norm_block_threads : choice.threads)), 0, queue,
                  "gated norm", a);
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
