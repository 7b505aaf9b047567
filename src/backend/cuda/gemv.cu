// Matrix times few vectors. Algorithm:
//   1. a group of lanes owns `rows` rows of the weight; its lanes stride k in 16-byte loads;
//   2. the first loads leave before the kernel waits for its predecessor (weights never change), so
//      that a chain of these kernels keeps memory busy across launches;
//   3. products are summed in fp32, over the lanes by shuffles, over warps that split k in shared
//   memory;
//   4. lane r adds bias and residual to row r, both loaded before the products, and stores.
// Of one row of x it takes along (so a launch less each, 1.3 to 1.9 us on an H200):
//   the RMS norm before: every block puts x times the norm's weights into shared memory and adds up
//   the squares, whose root scales the sums (waiting for it first was slower than a launch of its
//   own: docs/kernels-cuda-attn.md); the gated unit after, rows r and n / 2 + r being computed
//   together; RoPE and cache append, the two rows of a pair being computed together; the causal
//   convolution of one token.
// Limit: the bytes of the weight over memory bandwidth. Up to 8 rows of x share one pass.
#include <type_traits>

#include "backend/cuda/gemv.h"
#include "backend/cuda/rotary.cuh"
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

struct NoTail {};
struct GluTail {
  Act act;
};
struct ConvTail {
  const void* weight;
  const void* bias;
  void* state;
  void* out;
  const int64_t* past;
  int32_t begin, channels, width;
  bool silu;
};
using RopeTail = RopeArgs;

template <class Tail>
inline constexpr bool is_paired = std::is_same_v<Tail, GluTail> || std::is_same_v<Tail, RopeTail>;

// Of one row, four blocks to a multiprocessor: so many hold what a whole layer's product loads
// ahead.
template <class T, int kVector, int kM, int kRows, int kLanes, int kWarpsOnK, class Tail,
          bool kNorm>
__global__ void __launch_bounds__(warps_per_block * 32, kM == 1 ? 4 : 1)
    gemv_kernel(GemvArgs a, Tail tail) {
  constexpr bool kPaired = is_paired<Tail>, kConv = std::is_same_v<Tail, ConvTail>,
                 kRope = std::is_same_v<Tail, RopeTail>;
  // Loads ahead of each row. As many as registers hold were slower: docs/kernels-cuda-attn.md.
  constexpr int of_one_row = kRows >= 4 ? 2 : kRows == 2 ? 3 : kWarpsOnK == 1 ? 4 : 6;
  constexpr int unroll = kM == 1 ? of_one_row : 8 / kRows / (kM > 4 ? 2 : 1);
  constexpr int groups_per_warp = 32 / kLanes;
  constexpr int row_warps = warps_per_block / kWarpsOnK;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row_warp = warp % row_warps, k_warp = warp / row_warps;
  const int group = (blockIdx.x * row_warps + row_warp) * groups_per_warp + lane / kLanes;
  const int group_lane = lane % kLanes;
  // A group's rows: a run of them, and where they come in pairs as many partners.
  constexpr int run = kPaired ? kRows / 2 : kRows, partners = kPaired ? 2 : 1;
  const int rows = kPaired ? a.n / 2 : a.n;  // that have no partner before them
  const int row0 = group * run;
  int first = row0, distance = kPaired ? rows : 0;
  if constexpr (kRope) {
    const int rotated = (tail.heads + tail.kv_heads) * tail.pairs;
    if (row0 < rotated) {
      first = row0 / tail.pairs * 2 * tail.pairs + row0 % tail.pairs;
      distance = tail.pairs;
    } else {
      first = 2 * row0;  // a value's elements, two by two
      distance = 1;
    }
  }
  const auto row_of = [&](int r) { return first + r % run + r / run * distance; };
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

  // Lane r of a group finishes row r of its run (and the partner): what it needs for that and the
  // kernel before did not write is here before the wait.
  const bool stores = k_warp == 0 && group_lane < run && row0 + group_lane < rows;
  const int row = first + min(group_lane, run - 1);
  float bias[partners] = {};
  if (stores && a.bias)
#pragma unroll
    for (int p = 0; p < partners; ++p)
      bias[p] = to_float(static_cast<const T*>(a.bias)[row + p * distance]);
  // As conv1d_token_kernel (conv1d.cu): the carried inputs are an earlier step's.
  float conv_w[4] = {}, conv_bias = 0;
  T before[3];
  int channel = -1;
  if constexpr (kConv) {
    if (stores && row >= tail.begin && row < tail.begin + tail.channels) {
      channel = row - tail.begin;
      const bool carried = *tail.past != 0;
      const int last = tail.width - 1;
      const T* const state = static_cast<const T*>(tail.state) + int64_t{channel} * last;
      const T* const taps = static_cast<const T*>(tail.weight) + int64_t{channel} * tail.width;
      conv_w[3] = to_float(taps[last]);
#pragma unroll
      for (int i = 0; i < 3; ++i) {
        before[i] = from_float<T>(0);
        if (i >= last) continue;
        conv_w[i] = to_float(taps[i]);
        if (carried) before[i] = state[i];
      }
      if (tail.bias) conv_bias = to_float(static_cast<const T*>(tail.bias)[channel]);
    }
  }
  int64_t position = 0;
  float cosine = 1, sine = 0;
  if constexpr (kRope) {
    position = *tail.past;
    if (stores && distance > 1) {
      rotation(position, tail.inv_freq[row0 % tail.pairs], cosine, sine);
      cosine *= tail.amplitude, sine *= tail.amplitude;
    }
  }
  Chunk<T, kVector> norm_weight;
  const int my_chunk = threadIdx.x * kVector;
  if constexpr (kNorm)
    if (my_chunk < a.k) norm_weight.load(static_cast<const T*>(a.norm.weight) + my_chunk);
  let_next_start();
  wait_for_previous();

  const auto out_at = [&](int m) { return m * a.out_stride + row; };
  float residual[kM] = {};
  if constexpr (std::is_same_v<Tail, NoTail>)
    if (stores && a.accumulate)
#pragma unroll
      for (int m = 0; m < kM; ++m)
        if (m < a.m)
          residual[m] = a.out_dtype == DType::f32
                            ? static_cast<const float*>(a.out)[out_at(m)]
                            : to_float(static_cast<const bf16*>(a.out)[out_at(m)]);

  extern __shared__ uint4 shared_x[];  // [k] of T, with a norm
  __shared__ float shared_squares[warps_per_block];
  if constexpr (kNorm) {
    float squares = 0;
    for (int i = my_chunk; i < a.k; i += warps_per_block * 32 * kVector) {
      if (i != my_chunk) norm_weight.load(static_cast<const T*>(a.norm.weight) + i);
      Chunk<T, kVector> chunk;
      chunk.load(x + i);
      float xv[kVector], nv[kVector];
      chunk.expand(xv), norm_weight.expand(nv);
#pragma unroll
      for (int j = 0; j < kVector; ++j) {
        squares = fmaf(xv[j], xv[j], squares);
        xv[j] *= nv[j] + a.norm.offset;
      }
      store_vector<T>(reinterpret_cast<T*>(shared_x) + i, xv);
    }
    squares = lane_sum(squares);
    if (lane == 0) shared_squares[warp] = squares;
    __syncthreads();
    x = reinterpret_cast<const T*>(shared_x);
  }

  float sum[kM][kRows] = {};
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

  float inverse = 1;
  if constexpr (kNorm) {
    float squares = 0;
#pragma unroll
    for (int i = 0; i < warps_per_block; ++i) squares += shared_squares[i];
    inverse = rsqrtf(squares / static_cast<float>(a.k) + a.norm.eps);
    if (a.norm.out && blockIdx.x == 0)
      for (int i = my_chunk; i < a.k; i += warps_per_block * 32 * kVector) {
        Chunk<T, kVector> chunk;
        chunk.load(x + i);
        float xv[kVector];
        chunk.expand(xv);
#pragma unroll
        for (int j = 0; j < kVector; ++j) xv[j] *= inverse;
        store_vector<T>(static_cast<T*>(a.norm.out) + i, xv);
      }
  }

  if constexpr (kWarpsOnK > 1) {
    __shared__ float partial[kWarpsOnK][row_warps][groups_per_warp][kM][kRows];
    if (group_lane == 0) {
#pragma unroll
      for (int m = 0; m < kM; ++m)
#pragma unroll
        for (int r = 0; r < kRows; ++r) partial[k_warp][row_warp][lane / kLanes][m][r] = sum[m][r];
    }
    __syncthreads();
    if (k_warp != 0) return;
#pragma unroll
    for (int m = 0; m < kM; ++m)
#pragma unroll
      for (int r = 0; r < kRows; ++r)
#pragma unroll
        for (int s = 1; s < kWarpsOnK; ++s) sum[m][r] += partial[s][row_warp][lane / kLanes][m][r];
  }
  if (!stores) return;
  const auto store = [](void* to, int64_t at, DType dtype, float value) {
    if (dtype == DType::f32)
      static_cast<float*>(to)[at] = value;
    else
      static_cast<bf16*>(to)[at] = from_float<bf16>(value);
  };
#pragma unroll
  for (int m = 0; m < kM; ++m) {
    if (m >= a.m) break;
    float y[partners];
#pragma unroll
    for (int p = 0; p < partners; ++p) {
      y[p] = sum[m][p * run];
#pragma unroll
      for (int r = 1; r < run; ++r)
        if (group_lane == r) y[p] = sum[m][p * run + r];
      y[p] = (kNorm ? fmaf(y[p], inverse, bias[p]) : y[p] + bias[p]) * a.scale;
      if constexpr (!std::is_same_v<Tail, NoTail>) y[p] = to_float(from_float<T>(y[p]));
    }
    // What follows sees y as it would have been stored.
    if constexpr (std::is_same_v<Tail, NoTail>) {
      store(a.out, out_at(m), a.out_dtype, a.accumulate ? residual[m] + y[0] : y[0]);
    } else if constexpr (std::is_same_v<Tail, GluTail>) {
      store(a.out, row, a.out_dtype, activate_by(tail.act, y[0]) * y[1]);
    } else if constexpr (kConv) {
      if (channel < 0) {
        store(a.out, row, a.out_dtype, y[0]);
        continue;
      }
      float z = fmaf(conv_w[3], y[0], conv_bias);
      const int last = tail.width - 1;
      T* const state = static_cast<T*>(tail.state) + int64_t{channel} * last;
#pragma unroll
      for (int i = 0; i < 3; ++i)
        if (i < last) z = fmaf(conv_w[i], to_float(before[i]), z);
      static_cast<T*>(tail.out)[channel] = from_float<T>(tail.silu ? silu(z) : z);
#pragma unroll
      for (int i = 0; i < 3; ++i) {
        if (i + 1 < last) state[i] = before[i + 1 < 3 ? i + 1 : 2];
        if (i + 1 == last) state[i] = from_float<T>(y[0]);
      }
    } else {
      const float first_value = y[0] * cosine - y[1] * sine,
                  second_value = y[1] * cosine + y[0] * sine;
      T* const out = static_cast<T*>(a.out) + row;
      out[0] = from_float<T>(first_value), out[distance] = from_float<T>(second_value);
      const int q_rows = tail.heads * tail.head_dim, k_rows = tail.kv_heads * tail.head_dim;
      T* cache = nullptr;
      if (row >= q_rows + k_rows && tail.v_cache) {
        const int at = row - q_rows - k_rows, head = at / tail.value_dim;
        cache = static_cast<T*>(tail.v_cache) + (head * tail.capacity + position) * tail.value_dim +
                at % tail.value_dim;
      } else if (row >= q_rows && tail.k_cache) {
        const int at = row - q_rows, head = at / tail.head_dim;
        cache = static_cast<T*>(tail.k_cache) + (head * tail.capacity + position) * tail.head_dim +
                at % tail.head_dim;
      }
      if (cache)
        cache[0] = from_float<T>(first_value), cache[distance] = from_float<T>(second_value);
    }
  }
}

template <class T, int kVector, int kM, int kRows, int kLanes, int kWarpsOnK, class Tail,
          bool kNorm>
void go(const GemvArgs& a, const Tail& tail, const Queue& queue) {
  constexpr int rows_per_block = warps_per_block / kWarpsOnK * (32 / kLanes) * kRows;
  launch_kernel(gemv_kernel<T, kVector, kM, kRows, kLanes, kWarpsOnK, Tail, kNorm>,
                dim3((a.n + rows_per_block - 1) / rows_per_block), dim3(warps_per_block * 32),
                kNorm ? static_cast<size_t>(a.k) * sizeof(T) : 0, queue, "gemv", a, tail);
}

// A product of one row, with all that it takes along.
template <class T, int kVector, int kRows, int kWarpsOnK, bool kNorm>
void go_along(const GemvArgs& a, const ConvTail& conv, const RopeArgs& rope, const Queue& queue) {
  if constexpr (kRows > 1 && kWarpsOnK == 1)
    if (a.tail == GemvTail::glu)
      return go<T, kVector, 1, kRows, 32, kWarpsOnK, GluTail, kNorm>(a, {a.act}, queue);
  if constexpr (kRows == 2)
    if (a.tail == GemvTail::rope)
      return go<T, kVector, 1, kRows, 32, kWarpsOnK, RopeTail, kNorm>(a, rope, queue);
  if constexpr (kRows != 2 || kWarpsOnK == 1) {
    if (a.tail == GemvTail::conv)
      return go<T, kVector, 1, kRows, 32, kWarpsOnK, ConvTail, kNorm>(a, conv, queue);
    if (a.tail == GemvTail::none)
      return go<T, kVector, 1, kRows, 32, kWarpsOnK, NoTail, kNorm>(a, {}, queue);
  }
  check(cudaErrorNotSupported, "gemv: a tail without a kernel of this shape");
}

template <class T, int kVector, int kRows, int kLanes, int kWarpsOnK>
void launch_rows(const GemvArgs& a, const ConvTail& conv, const RopeArgs& rope,
                 const Queue& queue) {
  if (a.m == 1) {
    if constexpr (kVector > 1 && kLanes == 32) {
      if (a.norm.weight) return go_along<T, kVector, kRows, kWarpsOnK, true>(a, conv, rope, queue);
      return go_along<T, kVector, kRows, kWarpsOnK, false>(a, conv, rope, queue);
    } else {
      return go<T, kVector, 1, kRows, kLanes, kWarpsOnK, NoTail, false>(a, {}, queue);
    }
  }
  if constexpr (kRows != 2 || kWarpsOnK == 1) {
    if (a.m == 2) return go<T, kVector, 2, kRows, kLanes, kWarpsOnK, NoTail, false>(a, {}, queue);
    if (a.m <= 4) return go<T, kVector, 4, kRows, kLanes, kWarpsOnK, NoTail, false>(a, {}, queue);
    go<T, kVector, 8, kRows, kLanes, kWarpsOnK, NoTail, false>(a, {}, queue);
  }
}

template <class T, int kVector>
void launch_dtype(const GemvArgs& a, const GemvChoice& c, const ConvTail& conv,
                  const RopeArgs& rope, const Queue& queue) {
  if (c.vector == 1) return launch_rows<T, 1, 1, 32, 1>(a, conv, rope, queue);
  if (c.lanes == 8) return launch_rows<T, kVector, 1, 8, 1>(a, conv, rope, queue);
  if (c.rows == 4) return launch_rows<T, kVector, 4, 32, 1>(a, conv, rope, queue);
  if (c.rows == 2 && c.warps_on_k == 1)
    return launch_rows<T, kVector, 2, 32, 1>(a, conv, rope, queue);
  if (c.rows == 2 && c.warps_on_k == 2)
    return launch_rows<T, kVector, 2, 32, 2>(a, conv, rope, queue);
  if (c.rows == 2 && c.warps_on_k == 4)
    return launch_rows<T, kVector, 2, 32, 4>(a, conv, rope, queue);
  if (c.rows == 2) return launch_rows<T, kVector, 2, 32, 8>(a, conv, rope, queue);
  if (c.warps_on_k == 8) return launch_rows<T, kVector, 1, 32, 8>(a, conv, rope, queue);
  if (c.warps_on_k == 4) return launch_rows<T, kVector, 1, 32, 4>(a, conv, rope, queue);
  if (c.warps_on_k == 2) return launch_rows<T, kVector, 1, 32, 2>(a, conv, rope, queue);
  launch_rows<T, kVector, 1, 32, 1>(a, conv, rope, queue);
}

}  // namespace

void launch_gemv(const GemvArgs& a, const GemvChoice& c, const Queue& queue, const Conv1dArgs& conv,
                 const RopeArgs& rope) {
  const ConvTail tail{conv.weight,  conv.bias,     conv.state, conv.out, conv.past_ptr,
                      a.conv_begin, conv.channels, conv.width, conv.silu};
  if (a.dtype == DType::bf16) return launch_dtype<bf16, 8>(a, c, tail, rope, queue);
  launch_dtype<float, 4>(a, c, tail, rope, queue);
}

}  // namespace tidemark::cuda
