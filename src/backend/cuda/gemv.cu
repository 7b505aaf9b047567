// Matrix times few vectors. Algorithm of the stream:
//   1. one block of 8 warps per multiprocessor; rows of the weight go round the blocks, then the
//   warps;
//   2. every warp keeps a ring of 16-byte asynchronous copies in shared memory full (each lane
//   reads back
//      only what it copied, so no barrier is needed). The first ring's worth leaves before the
//      kernel waits for its predecessor: weights never change, so a chain of these kernels keeps
//      memory busy across launches;
//   3. x is staged once per block, by way of the norm or the gated unit that the product follows;
//   4. products are summed in fp32, over the lanes by shuffles, over warps that split k in shared
//   memory.
// Limit: the bytes of the weight over memory bandwidth. Up to 8 rows of x share one pass.
// The other kernel takes rows that are not aligned to 16 bytes.
#include "backend/cuda/copy_async.cuh"
#include "backend/cuda/device.cuh"
#include "backend/cuda/gemv.h"

namespace tidemark::cuda {
namespace {

constexpr int warps = 8, threads = warps * 32;
constexpr int ring_slots = 16;  // 16 bytes a lane each: 64 KiB a block

template <class T>
inline constexpr int vector_of = 16 / static_cast<int>(sizeof(T));

__device__ inline void expand(const uint4& bits, float (&v)[8]) {
  v[0] = low_half(bits.x), v[1] = high_half(bits.x), v[2] = low_half(bits.y),
  v[3] = high_half(bits.y);
  v[4] = low_half(bits.z), v[5] = high_half(bits.z), v[6] = low_half(bits.w),
  v[7] = high_half(bits.w);
}
__device__ inline void expand(const uint4& bits, float (&v)[4]) {
  v[0] = __uint_as_float(bits.x), v[1] = __uint_as_float(bits.y);
  v[2] = __uint_as_float(bits.z), v[3] = __uint_as_float(bits.w);
}
__device__ inline uint4 contract(const float (&v)[8]) {
  return {pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]),
          pack_bf16(v[6], v[7])};
}
__device__ inline uint4 contract(const float (&v)[4]) {
  return {__float_as_uint(v[0]), __float_as_uint(v[1]), __float_as_uint(v[2]),
          __float_as_uint(v[3])};
}

__device__ inline float activate(Act act, float x) {
  switch (act) {
    case Act::silu:
      return x / (1.0F + __expf(-x));
    case Act::gelu:
      return 0.5F * x * (1.0F + erff(x * 0.70710678F));
    case Act::gelu_tanh:
      return 0.5F * x * (1.0F + tanhf(0.79788456F * (x + 0.044715F * x * x * x)));
    case Act::relu2:
      return x > 0 ? x * x : 0.0F;
    case Act::sigmoid:
      return 1.0F / (1.0F + __expf(-x));
    default:
      return x;
  }
}

template <class T>
__device__ inline void store_result(const GemvArgs& a, int m, int row, float sum) {
  if (a.bias) sum += to_float(static_cast<const T*>(a.bias)[row]);
  sum *= a.scale;
  const int64_t at = m * a.out_stride + row;
  if (a.out_dtype == DType::f32) {
    float* out = static_cast<float*>(a.out) + at;
    *out = a.accumulate ? *out + sum : sum;
  } else {
    bf16* out = static_cast<bf16*>(a.out) + at;
    *out = from_float<bf16>(a.accumulate ? to_float(*out) + sum : sum);
  }
}

// x to shared memory, [m][k] in 16-byte units.
template <class T>
__device__ void stage_x(const GemvArgs& a, uint4* staged) {
  constexpr int vector = vector_of<T>;
  const int units = a.k / vector;
  __shared__ float partial[warps];
  for (int m = 0; m < a.m; ++m) {
    const auto* x = reinterpret_cast<const uint4*>(static_cast<const T*>(a.x) + m * a.x_stride);
    uint4* to = staged + m * units;
    if (a.prologue == Prologue::none) {
      for (int i = threadIdx.x; i < units; i += threads) to[i] = x[i];
    } else if (a.prologue == Prologue::glu) {
      const auto* up =
          reinterpret_cast<const uint4*>(static_cast<const T*>(a.up) + m * a.up_stride);
      for (int i = threadIdx.x; i < units; i += threads) {
        float gate_values[vector], up_values[vector];
        expand(x[i], gate_values);
        expand(up[i], up_values);
#pragma unroll
        for (int j = 0; j < vector; ++j)
          gate_values[j] = activate(a.act, gate_values[j]) * up_values[j];
        to[i] = contract(gate_values);
      }
    } else {
      const auto* weight = static_cast<const uint4*>(a.norm_weight);
      float squares = 0;
      for (int i = threadIdx.x; i < units; i += threads) {
        float v[vector];
        expand(to[i] = x[i], v);
#pragma unroll
        for (int j = 0; j < vector; ++j) squares = fmaf(v[j], v[j], squares);
      }
      squares = lane_sum(squares);
      if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = squares;
      __syncthreads();
      squares = 0;
#pragma unroll
      for (int w = 0; w < warps; ++w) squares += partial[w];
      const float inverse = rsqrtf(squares / static_cast<float>(a.k) + a.eps);
      for (int i = threadIdx.x; i < units; i += threads) {
        float v[vector], w[vector];
        expand(to[i], v);
        expand(weight[i], w);
#pragma unroll
        for (int j = 0; j < vector; ++j) v[j] *= inverse * (w[j] + a.weight_offset);
        to[i] = contract(v);
      }
      if (m + 1 < a.m) __syncthreads();  // `partial` is used again
    }
  }
  __syncthreads();
}

template <class T, int kM>
__global__ void __launch_bounds__(threads) stream_kernel(GemvArgs a, int warps_on_k) {
  constexpr int vector = vector_of<T>;
  extern __shared__ uint4 shared[];  // [warps][ring_slots][32], then x
  __shared__ float partial[warps][kM];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row_warps = warps / warps_on_k, row_warp = warp % row_warps, k_warp = warp / row_warps;
  const int units = a.k / vector;
  const int unit0 = k_warp * 32 + lane, unit_step = warps_on_k * 32;
  const int steps = (units + unit_step - 1) / unit_step;  // ring entries per row
  const int row0 = blockIdx.x + gridDim.x * row_warp, row_step = gridDim.x * row_warps;
  uint4* ring = shared + warp * ring_slots * 32 + lane;
  const T* weight = static_cast<const T*>(a.weight);

  // The next copy to issue: ring entry `slot` gets unit `step` of `row`.
  int next_row = row0, next_step = 0, next_slot = 0;
  const auto issue = [&] {
    const int unit = unit0 + next_step * unit_step;
    if (next_row < a.n && unit < units)
      copy_async16(ring + next_slot * 32, weight + next_row * a.weight_stride + unit * vector);
    copy_commit();
    next_slot = next_slot + 1 == ring_slots ? 0 : next_slot + 1;
    if (++next_step == steps) next_step = 0, next_row += row_step;
  };
#pragma unroll
  for (int i = 0; i < ring_slots; ++i) issue();
  let_next_start();
  wait_for_previous();
  uint4* x = shared + warps * ring_slots * 32;
  stage_x<T>(a, x);

  int slot = 0;
  // With warps sharing a row, all of a block's go round together for the barriers below.
  const int rounds = (a.n - static_cast<int>(blockIdx.x) + row_step - 1) / row_step;
  for (int round = 0; round < rounds; ++round) {
    const int row = row0 + round * row_step;
    float sum[kM] = {};
    for (int step = 0; step < steps; ++step) {
      copy_wait<ring_slots - 1>();
      const int unit = unit0 + step * unit_step;
      if (unit < units && row < a.n) {
        float w[vector];
        expand(ring[slot * 32], w);
#pragma unroll
        for (int m = 0; m < kM; ++m) {
          if (m >= a.m) break;
          float v[vector];
          expand(x[m * units + unit], v);
          float even = 0, odd = 0;
#pragma unroll
          for (int j = 0; j < vector; j += 2) {
            even = fmaf(w[j], v[j], even);
            odd = fmaf(w[j + 1], v[j + 1], odd);
          }
          sum[m] += even + odd;
        }
      }
      issue();
      slot = slot + 1 == ring_slots ? 0 : slot + 1;
    }
#pragma unroll
    for (int m = 0; m < kM; ++m) sum[m] = lane_sum(sum[m]);
    if (warps_on_k > 1) {
      if (lane == 0)
#pragma unroll
        for (int m = 0; m < kM; ++m) partial[warp][m] = sum[m];
      __syncthreads();
      if (k_warp == 0)
#pragma unroll
        for (int m = 0; m < kM; ++m)
          for (int s = 1; s < warps_on_k; ++s) sum[m] += partial[row_warp + s * row_warps][m];
    }
    if (k_warp == 0 && row < a.n)
#pragma unroll
      for (int m = 0; m < kM; ++m)
        if (lane == m && m < a.m) store_result<T>(a, m, row, sum[m]);
    if (warps_on_k > 1) __syncthreads();
  }
}

// One warp per row, element by element.
template <class T>
__global__ void __launch_bounds__(threads) plain_kernel(GemvArgs a) {
  let_next_start();
  wait_for_previous();
  const int row = blockIdx.x * warps + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= a.n) return;
  const T* weight = static_cast<const T*>(a.weight) + row * a.weight_stride;
  for (int m = 0; m < a.m; ++m) {
    const T* x = static_cast<const T*>(a.x) + m * a.x_stride;
    float sum = 0;
    for (int k = lane; k < a.k; k += 32) sum = fmaf(to_float(weight[k]), to_float(x[k]), sum);
    sum = lane_sum(sum);
    if (lane == 0) store_result<T>(a, m, row, sum);
  }
}

template <class T, int kM>
void launch_stream(const GemvArgs& a, const GemvChoice& c, const Queue& queue) {
  constexpr int max_shared = (warps * ring_slots * 32 + 128 * 1024 / 16) * 16;
  const auto kernel = stream_kernel<T, kM>;
  static const cudaError_t allowed =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, max_shared);
  check(allowed, "gemv: shared memory");
  const size_t shared_bytes =
      sizeof(uint4) * (warps * ring_slots * 32 + int64_t{a.m} * a.k / vector_of<T>);
  launch_kernel(kernel, dim3(c.blocks), dim3(threads), shared_bytes, queue, "gemv", a,
                c.warps_on_k);
}

template <class T>
void launch_dtype(const GemvArgs& a, const GemvChoice& c, const Queue& queue) {
  if (!c.stream)
    return launch_kernel(plain_kernel<T>, dim3(c.blocks), dim3(threads), 0, queue, "gemv", a);
  if (a.m == 1) return launch_stream<T, 1>(a, c, queue);
  if (a.m == 2) return launch_stream<T, 2>(a, c, queue);
  if (a.m <= 4) return launch_stream<T, 4>(a, c, queue);
  launch_stream<T, 8>(a, c, queue);
}

}  // namespace

void launch_gemv(const GemvArgs& a, const GemvChoice& c, const Queue& queue) {
  if (a.dtype == DType::bf16) return launch_dtype<bf16>(a, c, queue);
  launch_dtype<float>(a, c, queue);
}

}  // namespace tidemark::cuda
