// Gated delta rule (arXiv 2406.06484, 2412.06464), token after token. Algorithm:
//   1. columns of S do not meet, so a block takes 16 of them, of one head and sequence; a column
//      lies in the registers of 8 lanes, fp32, four consecutive rows at a time;
//   2. 16 tokens are staged in shared memory: q and k normalised there, the gates computed once,
//      the next 16 on their way into registers meanwhile;
//   3. a token is two sums over a column, 8 lanes each (k S, q S), around one update.
// Limits: the chain from token to token (a sum over 8 lanes and two products); at one token, the
// bytes of the state.
#include "backend/cuda/gated_delta.h"
#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {
namespace {

constexpr int warps = 4, lanes_per_column = 8, columns_per_warp = 32 / lanes_per_column;
constexpr int columns = warps * columns_per_warp;
constexpr int tile = 16;  // tokens staged at once
constexpr int tokens_per_warp = tile / warps;

// kQuads: groups of four rows of a column per lane; key_dim <= 32 kQuads.
template <class T, int kQuads>
__global__ void __launch_bounds__(warps * 32) recurrence_kernel(GatedDeltaArgs a) {
  constexpr int dim = 32 * kQuads;  // key_dim with zeros behind it
  __shared__ __align__(16) float qs[tile][dim], ks[tile][dim];
  __shared__ float vs[tile][columns], outs[tile][columns], decays[tile], betas[tile];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int part = lane % lanes_per_column;
  const int own = warp * columns_per_warp + lane / lanes_per_column;  // column of the block's
  const int column0 = blockIdx.x * columns;
  const bool mine = column0 + own < a.value_dim;
  const int head = blockIdx.y, key_head = head / (a.value_heads / a.key_heads);
  const int64_t batch = blockIdx.z, row0 = batch * a.length;
  const float slope = -expf(to_float(static_cast<const T*>(a.a_log)[head]));
  const float dt_bias = to_float(static_cast<const T*>(a.dt_bias)[head]);
  const float q_scale = 1.0F / sqrtf(static_cast<float>(a.key_dim));
  let_next_start();
  wait_for_previous();

  // Row i of the column is held by lane part (i / 4) % 8, as s[i / 32][i % 4].
  float s[kQuads][4];
  float* const state =
      a.state + (batch * a.value_heads + head) * a.key_dim * a.value_dim + column0 + own;
  const auto row_of = [&](int quad, int i) { return (quad * lanes_per_column + part) * 4 + i; };
  const bool carried = *a.past != 0;
#pragma unroll
  for (int quad = 0; quad < kQuads; ++quad)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = row_of(quad, i);
      s[quad][i] = carried && mine && row < a.key_dim
                       ? state[static_cast<int64_t>(row) * a.value_dim]
                       : 0.0F;
    }

  const T* const q = static_cast<const T*>(a.q) + int64_t{key_head} * a.key_dim;
  const T* const k = static_cast<const T*>(a.k) + int64_t{key_head} * a.key_dim;
  const T* const v = static_cast<const T*>(a.v) + int64_t{head} * a.value_dim + column0;
  T* const out = static_cast<T*>(a.out) + int64_t{head} * a.value_dim + column0;
  // What a thread brings of a tile: its warp's tokens' q and k, lanes along the head; v and gates.
  struct Raw {
    T q[tokens_per_warp][kQuads], k[tokens_per_warp][kQuads];
    T v[tile * columns / (warps * 32)];
    T a, b;
  };
  const auto load = [&](int64_t t0) {
    Raw raw;
#pragma unroll
    for (int i = 0; i < tokens_per_warp; ++i) {
      const int64_t row = row0 + min(t0 + warp * tokens_per_warp + i, a.length - 1);
#pragma unroll
      for (int j = 0; j < kQuads; ++j) {
        const int at = min(j * 32 + lane, a.key_dim - 1);
        raw.q[i][j] = q[row * a.q_stride + at];
        raw.k[i][j] = k[row * a.k_stride + at];
      }
    }
#pragma unroll
    for (int i = 0; i < tile * columns / (warps * 32); ++i) {
      const int at = i * warps * 32 + threadIdx.x,
                column = min(at % columns, a.value_dim - 1 - column0);
      raw.v[i] = v[(row0 + min(t0 + at / columns, a.length - 1)) * a.v_stride + column];
    }
    const int64_t row = row0 + min(t0 + threadIdx.x % tile, a.length - 1);
    raw.a = static_cast<const T*>(a.a)[row * a.a_stride + head];
    raw.b = static_cast<const T*>(a.b)[row * a.b_stride + head];
    return raw;
  };
  const auto stage = [&](const Raw& raw) {
#pragma unroll
    for (int i = 0; i < tokens_per_warp; ++i) {
      float q_squares = 0, k_squares = 0;
#pragma unroll
      for (int j = 0; j < kQuads; ++j) {
        const bool inside = j * 32 + lane < a.key_dim;
        const float x = inside ? to_float(raw.q[i][j]) : 0.0F;
        const float y = inside ? to_float(raw.k[i][j]) : 0.0F;
        q_squares = fmaf(x, x, q_squares), k_squares = fmaf(y, y, k_squares);
      }
      const float q_factor = rsqrtf(lane_sum(q_squares) + a.eps) * q_scale;
      const float k_factor = rsqrtf(lane_sum(k_squares) + a.eps);
#pragma unroll
      for (int j = 0; j < kQuads; ++j) {
        const bool inside = j * 32 + lane < a.key_dim;
        const int t = warp * tokens_per_warp + i;
        qs[t][j * 32 + lane] = inside ? to_float(raw.q[i][j]) * q_factor : 0.0F;
        ks[t][j * 32 + lane] = inside ? to_float(raw.k[i][j]) * k_factor : 0.0F;
      }
    }
#pragma unroll
    for (int i = 0; i < tile * columns / (warps * 32); ++i) {
      const int at = i * warps * 32 + threadIdx.x;
      vs[at / columns][at % columns] = to_float(raw.v[i]);
    }
    if (threadIdx.x < tile) {
      decays[threadIdx.x] = expf(slope * softplus<float>(to_float(raw.a) + dt_bias));
      betas[threadIdx.x] = sigmoid(to_float(raw.b));
    }
  };

  Raw raw = load(0);
  for (int64_t t0 = 0; t0 < a.length; t0 += tile) {
    stage(raw);
    __syncthreads();
    if (t0 + tile < a.length) raw = load(t0 + tile);
    const int tokens = static_cast<int>(min(a.length - t0, int64_t{tile}));
    for (int t = 0; t < tokens; ++t) {
      const float decay = decays[t];
      float4 key[kQuads];
      float seen[4] = {};
#pragma unroll
      for (int quad = 0; quad < kQuads; ++quad) {
        key[quad] = *reinterpret_cast<const float4*>(&ks[t][row_of(quad, 0)]);
        seen[0] = fmaf(key[quad].x, s[quad][0], seen[0]);
        seen[1] = fmaf(key[quad].y, s[quad][1], seen[1]);
        seen[2] = fmaf(key[quad].z, s[quad][2], seen[2]);
        seen[3] = fmaf(key[quad].w, s[quad][3], seen[3]);
      }
      const float sum = lane_sum<lanes_per_column>((seen[0] + seen[1]) + (seen[2] + seen[3]));
      const float delta = betas[t] * fmaf(-decay, sum, vs[t][own]);
      float result[4] = {};
#pragma unroll
      for (int quad = 0; quad < kQuads; ++quad) {
        const float4 query = *reinterpret_cast<const float4*>(&qs[t][row_of(quad, 0)]);
        s[quad][0] = fmaf(key[quad].x, delta, decay * s[quad][0]);
        s[quad][1] = fmaf(key[quad].y, delta, decay * s[quad][1]);
        s[quad][2] = fmaf(key[quad].z, delta, decay * s[quad][2]);
        s[quad][3] = fmaf(key[quad].w, delta, decay * s[quad][3]);
        result[0] = fmaf(query.x, s[quad][0], result[0]);
        result[1] = fmaf(query.y, s[quad][1], result[1]);
        result[2] = fmaf(query.z, s[quad][2], result[2]);
        result[3] = fmaf(query.w, s[quad][3], result[3]);
      }
      const float value =
          lane_sum<lanes_per_column>((result[0] + result[1]) + (result[2] + result[3]));
      if (part == 0) outs[t][own] = value;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < tile * columns / (warps * 32); ++i) {
      const int at = i * warps * 32 + threadIdx.x, t = at / columns, column = at % columns;
      if (t < tokens && column0 + column < a.value_dim)
        out[(row0 + t0 + t) * a.out_stride + column] = from_float<T>(outs[t][column]);
    }
  }

#pragma unroll
  for (int quad = 0; quad < kQuads; ++quad)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = row_of(quad, i);
      if (mine && row < a.key_dim) state[static_cast<int64_t>(row) * a.value_dim] = s[quad][i];
    }
}

template <class T>
void launch(const GatedDeltaArgs& a, const Queue& queue) {
  if (a.key_dim > 256) check(cudaErrorNotSupported, "gated_delta: key dimension above 256");
  const auto kernel = a.key_dim <= 32    ? recurrence_kernel<T, 1>
                      : a.key_dim <= 64  ? recurrence_kernel<T, 2>
                      : a.key_dim <= 128 ? recurrence_kernel<T, 4>
                                         : recurrence_kernel<T, 8>;
  launch_kernel(kernel,
                dim3(static_cast<unsigned>((a.value_dim + columns - 1) / columns),
                     static_cast<unsigned>(a.value_heads), static_cast<unsigned>(a.batch)),
                dim3(warps * 32), 0, queue, "gated_delta", a);
}

}  // namespace

void launch_gated_delta(const GatedDeltaArgs& a, const Queue& queue) {
  a.dtype == DType::bf16 ? launch<bf16>(a, queue) : launch<float>(a, queue);
}

}  // namespace tidemark::cuda
