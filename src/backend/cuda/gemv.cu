// Matrix times few vectors. Algorithm:
//   1. a group of lanes owns `rows` rows of the weight; its lanes stride k in 16-byte loads;
//   2. the first loads leave before the kernel waits for its predecessor (weights never change), so
//      that a chain of these kernels keeps memory busy across launches;
//   3. products are summed in fp32, over the lanes by shuffles, over warps that split k in shared
//   memory;
//   4. one lane adds bias and residual and stores.
// With a prologue every block first makes all of x in shared memory, by way of the norm or the
// gated unit that the product follows: less than a launch costs, and rounded as the operator alone
// would. Limit: the bytes of the weight over memory bandwidth. Up to 8 rows of x share one pass.
#include "backend/cuda/gemv.h"
#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {
namespace {

constexpr int warps_per_block = 8;

template <class T, int kVector>
struct Chunk;  // kVector elements of T, one load
template <>
struct Chunk<bf16, 8> {
  uint4 bits = {0, 0, 0, 0};
  __device__ void load_constant(const bf16* p) { bits = load_streaming(p); }
  __device__ void load(const bf16* p) { bits = *reinterpret_cast<const uint4*>(p); }
  __device__ void expand(float (&v)[8]) const {
    v[0] = low_half(bits.x), v[1] = high_half(bits.x), v[2] = low_half(bits.y),
    v[3] = high_half(bits.y);
    v[4] = low_half(bits.z), v[5] = high_half(bits.z), v[6] = low_half(bits.w),
    v[7] = high_half(bits.w);
  }
};
template <>
struct Chunk<float, 4> {
  uint4 bits = {0, 0, 0, 0};
  __device__ void load_constant(const float* p) { bits = load_streaming(p); }
  __device__ void load(const float* p) { bits = *reinterpret_cast<const uint4*>(p); }
  __device__ void expand(float (&v)[4]) const {
    v[0] = __uint_as_float(bits.x), v[1] = __uint_as_float(bits.y);
    v[2] = __uint_as_float(bits.z), v[3] = __uint_as_float(bits.w);
  }
};
template <class T>
struct Chunk<T, 1> {
  T value = from_float<T>(0.0F);
  __device__ void load_constant(const T* p) { value = *p; }
  __device__ void load(const T* p) { value = *p; }
  __device__ void expand(float (&v)[1]) const { v[0] = to_float(value); }
};

__device__ inline float activate_by(Act act, float x) {
  switch (act) {
    case Act::silu:
      return activate<Act::silu>(x);
    case Act::gelu:
      return activate<Act::gelu>(x);
    case Act::gelu_tanh:
      return activate<Act::gelu_tanh>(x);
    case Act::relu2:
      return activate<Act::relu2>(x);
    case Act::sigmoid:
      return activate<Act::sigmoid>(x);
    default:
      return x;
  }
}

// kNormed: with the RMS norm before. kPaired: half of a group's rows are n / 2 further down.
template <class T, int kVector, int kM, int kRows, int kLanes, int kWarpsOnK, bool kNormed,
          bool kPaired>
__global__ void __launch_bounds__(warps_per_block * 32) gemv_kernel(GemvArgs a) {
  constexpr int unroll = kRows >= 4 ? 2 : 8 / kRows / (kM > 4 ? 2 : 1);
  constexpr int groups_per_warp = 32 / kLanes;
  constexpr int row_warps = warps_per_block / kWarpsOnK;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row_warp = warp % row_warps, k_warp = warp / row_warps;
  const int group = lane / kLanes, group_lane = lane % kLanes;
  constexpr int run = kPaired ? kRows / 2 : kRows;  // of consecutive rows
  const int rows = kPaired ? a.n / 2 : a.n;
  const int row0 = ((blockIdx.x * row_warps + row_warp) * groups_per_warp + group) * run;
  const auto row_of = [&](int r) { return row0 + r % run + r / run * rows; };
  const T* weight = static_cast<const T*>(a.weight);
  const T* x = static_cast<const T*>(a.x);
  constexpr int stride = kWarpsOnK * kLanes * kVector;

  Chunk<T, kVector> w[unroll][kRows];
  const auto load_weights = [&](int k0) {
#pragma unroll
    for (int u = 0; u < unroll; ++u)
#pragma unroll
      for (int r = 0; r < kRows; ++r)
        if (k0 + u * stride < a.k && row0 + r % run < rows)
          w[u][r].load_constant(weight + row_of(r) * a.weight_stride + k0 + u * stride);
  };
  int k0 = (k_warp * kLanes + group_lane) * kVector;
  load_weights(k0);
  let_next_start();
  wait_for_previous();

  float sum[kM][kRows] = {}, squares = 0;
  while (k0 < a.k) {
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      if (k0 + u * stride >= a.k) break;
      float wv[kRows][kVector];
#pragma unroll
      for (int r = 0; r < kRows; ++r) w[u][r].expand(wv[r]);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        if (m >= a.m) break;
        Chunk<T, kVector> chunk;
        chunk.load(x + m * a.x_stride + k0 + u * stride);
        float xv[kVector];
        chunk.expand(xv);
        if constexpr (kNormed) {
          Chunk<T, kVector> scale;
          scale.load(static_cast<const T*>(a.norm_weight) + k0 + u * stride);
          float scale_values[kVector];
          scale.expand(scale_values);
#pragma unroll
          for (int i = 0; i < kVector; ++i) {
            squares = fmaf(xv[i], xv[i], squares);
            xv[i] *= a.weight_offset + scale_values[i];
          }
        }
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
          for (int i = 0; i < kVector; ++i) sum[m][r] = fmaf(wv[r][i], xv[i], sum[m][r]);
      }
    }
    k0 += unroll * stride;
    if (k0 < a.k) load_weights(k0);
  }

#pragma unroll
  for (int m = 0; m < kM; ++m)
#pragma unroll
    for (int r = 0; r < kRows; ++r) sum[m][r] = lane_sum<kLanes>(sum[m][r]);
  if constexpr (kNormed) squares = lane_sum<kLanes>(squares);

  if constexpr (kWarpsOnK > 1) {
    __shared__ float partial[kWarpsOnK][row_warps][groups_per_warp][kM][kRows];
    __shared__ float partial_squares[kWarpsOnK];  // the same for all rows
    if (kNormed && row_warp == 0 && lane == 0) partial_squares[k_warp] = squares;
    if (group_lane == 0)
#pragma unroll
      for (int m = 0; m < kM; ++m)
#pragma unroll
        for (int r = 0; r < kRows; ++r) partial[k_warp][row_warp][group][m][r] = sum[m][r];
    __syncthreads();
    if (k_warp != 0) return;
#pragma unroll
    for (int m = 0; m < kM; ++m)
#pragma unroll
      for (int r = 0; r < kRows; ++r)
#pragma unroll
        for (int s = 1; s < kWarpsOnK; ++s) sum[m][r] += partial[s][row_warp][group][m][r];
    if constexpr (kNormed) {
      squares = 0;
#pragma unroll
      for (int s = 0; s < kWarpsOnK; ++s) squares += partial_squares[s];
    }
  }
  if (group_lane != 0) return;
  const float norm = kNormed ? rsqrtf(squares / static_cast<float>(a.k) + a.eps) : 1.0F;
  const auto store = [&](int m, int row, float value) {
    const int64_t at = m * a.out_stride + row;
    if (a.out_dtype == DType::f32) {
      float* out = static_cast<float*>(a.out) + at;
      *out = a.accumulate ? *out + value : value;
    } else {
      bf16* out = static_cast<bf16*>(a.out) + at;
      *out = from_float<bf16>(a.accumulate ? to_float(*out) + value : value);
    }
  };
#pragma unroll
  for (int m = 0; m < kM; ++m) {
    if (m >= a.m) break;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (row0 + r % run >= rows) continue;
      if constexpr (kNormed) sum[m][r] *= norm;
      if (a.bias) sum[m][r] += to_float(static_cast<const T*>(a.bias)[row_of(r)]);
      sum[m][r] *= a.scale;
      if constexpr (kPaired) {
        sum[m][r] = to_float(from_float<T>(sum[m][r]));  // as it would have been stored
        if (r >= run) store(m, row_of(r - run), activate_by(a.act, sum[m][r - run]) * sum[m][r]);
      } else {
        store(m, row_of(r), sum[m][r]);
      }
    }
  }
}

template <class T, int kVector, int kRows, int kLanes, int kWarpsOnK>
void launch_rows(const GemvArgs& a, const Queue& queue) {
  constexpr int rows_per_block = warps_per_block / kWarpsOnK * (32 / kLanes) * kRows;
  const auto go = [&](auto kernel) {
    launch_kernel(kernel, dim3((a.n + rows_per_block - 1) / rows_per_block),
                  dim3(warps_per_block * 32), 0, queue, "gemv", a);
  };
  if constexpr (kVector > 1 && kLanes == 32) {
    const bool normed = a.norm_weight != nullptr;
    if constexpr (kRows > 1) {
      if (a.glu && normed)
        return go(gemv_kernel<T, kVector, 1, kRows, kLanes, kWarpsOnK, true, true>);
      if (a.glu) return go(gemv_kernel<T, kVector, 1, kRows, kLanes, kWarpsOnK, false, true>);
    }
    if (normed) return go(gemv_kernel<T, kVector, 1, kRows, kLanes, kWarpsOnK, true, false>);
  }
  if (a.m == 1) return go(gemv_kernel<T, kVector, 1, kRows, kLanes, kWarpsOnK, false, false>);
  if (a.m == 2) return go(gemv_kernel<T, kVector, 2, kRows, kLanes, kWarpsOnK, false, false>);
  if (a.m <= 4) return go(gemv_kernel<T, kVector, 4, kRows, kLanes, kWarpsOnK, false, false>);
  go(gemv_kernel<T, kVector, 8, kRows, kLanes, kWarpsOnK, false, false>);
}

template <class T, int kVector>
void launch_dtype(const GemvArgs& a, const GemvChoice& c, const Queue& queue) {
  if (c.vector == 1) return launch_rows<T, 1, 1, 32, 1>(a, queue);
  if (c.lanes == 8) return launch_rows<T, kVector, 1, 8, 1>(a, queue);
  if (c.rows == 4) return launch_rows<T, kVector, 4, 32, 1>(a, queue);
  if (c.rows == 2) return launch_rows<T, kVector, 2, 32, 1>(a, queue);
  if (c.warps_on_k == 8) return launch_rows<T, kVector, 1, 32, 8>(a, queue);
  if (c.warps_on_k == 4) return launch_rows<T, kVector, 1, 32, 4>(a, queue);
  if (c.warps_on_k == 2) return launch_rows<T, kVector, 1, 32, 2>(a, queue);
  launch_rows<T, kVector, 1, 32, 1>(a, queue);
}

}  // namespace

void launch_gemv(const GemvArgs& a, const GemvChoice& c, const Queue& queue) {
  if (a.dtype == DType::bf16) return launch_dtype<bf16, 8>(a, c, queue);
  launch_dtype<float, 4>(a, c, queue);
}

}  // namespace tidemark::cuda
