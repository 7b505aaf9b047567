// Selective scan (Mamba, arXiv 2312.00752, section 3.3). Algorithm of `tiles`, 256 tokens at a
// time:
//   1. a warp owns 2 channels; each of 16 lanes per channel owns 16 consecutive tokens, whose d and
//   d x
//      stay in registers; B and C of the tile lie in shared memory as fp32, one row per n;
//   2. for every n: a = exp(d A_n), once per token; the lane's own recurrence from zero (the first
//   lane
//      from the carried state) gives its last h, and exp(A_n sum d) its whole decay;
//   3. an inclusive scan over the 16 lanes (h <- h + decay * h of the lane before) by 4 exchanges;
//   4. the recurrence again from the previous lane's h, y += C_n h; the last lane's h is carried
//   on;
//   5. out = (y + D x) silu(z) leaves through shared memory in whole rows. The next tile's operands
//      arrive by cp.async meanwhile.
// So the sequence is parallel within a warp, every exponential is computed once, no y is reduced
// over lanes, and the state never leaves the chip. Limits: the special-function units, one
// exponential per (token, channel, n) and 5/16 more for softplus, decay and silu; then the issue
// slots (about 8 each). Fewer than ~2500 channels * batch leave multiprocessors idle.
//
// `recurrence`: 4 lanes per channel, each a quarter of the state in registers, token after token.
#include <algorithm>
#include <limits>

#include "backend/cuda/selective_scan.h"
#include "backend/cuda/tile.cuh"
#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {
namespace {

constexpr unsigned all_lanes = 0xffffffffu;
constexpr int time_lanes = 16, steps_per_lane = 16;
constexpr int tile_length = time_lanes * steps_per_lane;

// 2^x for x <= 0 on the FMA units: 2^round(x) as exponent bits times a polynomial of the rest
// (Taylor, relative error 2e-7 on [-1/2, 1/2]).
__device__ inline float exp2_polynomial(float x) {
  x = fmaxf(x, -126.0F);
  const float shifted = x + 12582912.0F;  // 1.5 * 2^23: the integer part in the low bits
  const float f = x - (shifted - 12582912.0F);
  float p = 1.5403530e-4F;
  p = fmaf(p, f, 1.3333558e-3F);
  p = fmaf(p, f, 9.6181291e-3F);
  p = fmaf(p, f, 5.5504109e-2F);
  p = fmaf(p, f, 2.4022651e-1F);
  p = fmaf(p, f, 6.9314718e-1F);
  p = fmaf(p, f, 1.0F);
  return __uint_as_float(__float_as_uint(p) + (__float_as_uint(shifted) << 23));
}

// Shared memory of a tile of `channels`: three [tile_length, channels] operands, 16 bytes of
// padding after every lane's rows so that the lanes' columns spread over the banks; B and C as they
// arrive, [tile_length, state_size] each; B and C as fp32 [state_size][4][time_lanes][4]: element
// (q, lane, r) is token 16 lane + 4 q + r, so that lanes read 16 bytes each without conflict; A in
// base 2 and h, [channels][state_size].
template <class T>
struct TileLayout {
  int operand_row, operand_bytes, raw_bytes, table_bytes, small_bytes;
  __host__ __device__ TileLayout(int channels, int state_size)
      : operand_row(channels * static_cast<int>(sizeof(T))),
        operand_bytes(tile_length * operand_row + time_lanes * 16),
        raw_bytes((tile_length * state_size * static_cast<int>(sizeof(T)) + 15) / 16 * 16),
        table_bytes(tile_length * state_size * 4),
        small_bytes(channels * state_size * 4) {}
  __host__ __device__ int total() const {
    return 3 * operand_bytes + 2 * raw_bytes + 2 * table_bytes + 2 * small_bytes;
  }
  __device__ int row_at(int t) const { return t * operand_row + t / steps_per_lane * 16; }
};

// [tile_length, columns] rows of a global operand into shared memory; rows past the end become
// zeros. Whole 16-byte pieces asynchronously where everything is aligned, else element by element.
template <class T, class RowAt>
__device__ void load_rows(unsigned char* to, RowAt row_at, const T* from, int64_t stride,
                          int64_t rows_left, int columns, int columns_left, bool aligned) {
  if (aligned) {
    const int pieces = columns / full_vector<T>;
    for (int i = threadIdx.x; i < tile_length * pieces; i += blockDim.x) {
      const int t = i / pieces, piece = i % pieces;
      const bool valid = t < rows_left && piece * full_vector<T> < columns_left;
      copy_async(shared_address(to + row_at(t) + piece * 16),
                 from + (valid ? t * stride + piece * full_vector<T> : 0), valid);
    }
  } else {
    for (int i = threadIdx.x; i < tile_length * columns; i += blockDim.x) {
      const int t = i / columns, column = i % columns;
      const bool valid = t < rows_left && column < columns_left;
      reinterpret_cast<T*>(to + row_at(t))[column] =
          valid ? from[t * stride + column] : from_float<T>(0);
    }
  }
}

// Raw rows [tile_length, n_count] into the fp32 table. Consecutive threads take consecutive r, then
// lanes: their stores do not conflict, their loads two by two.
template <class T>
__device__ void fill_table(float* table, const unsigned char* raw, int n_count) {
  constexpr int vector = full_vector<T>;
  const auto token = [](int i) {
    return steps_per_lane * (i / 4 % time_lanes) + i / 64 * 4 + i % 4;
  };
  if (n_count % vector == 0) {
    for (int i = threadIdx.x; i < tile_length * (n_count / vector); i += blockDim.x) {
      const int slot = i % tile_length, n0 = i / tile_length * vector;
      float v[vector];
      to_floats(
          load_vector<T, vector>(reinterpret_cast<const T*>(raw) + token(slot) * n_count + n0), v);
#pragma unroll
      for (int j = 0; j < vector; ++j) table[(n0 + j) * tile_length + slot] = v[j];
    }
  } else {
    for (int i = threadIdx.x; i < tile_length * n_count; i += blockDim.x)
      table[i] = to_float(
          reinterpret_cast<const T*>(raw)[token(i % tile_length) * n_count + i / tile_length]);
  }
}

template <class T, int kPolynomial>
__global__ void __launch_bounds__(512)
    scan_tiles(SelectiveScanArgs a, int channels, bool aligned, bool bc_aligned) {
  extern __shared__ __align__(16) unsigned char shared_raw[];
  const TileLayout<T> layout(channels, a.state_size);
  unsigned char* const x_tile = shared_raw;
  unsigned char* const dt_tile = x_tile + layout.operand_bytes;
  unsigned char* const z_tile = dt_tile + layout.operand_bytes;
  unsigned char* const b_raw = z_tile + layout.operand_bytes;
  unsigned char* const c_raw = b_raw + layout.raw_bytes;
  float* const b_table = reinterpret_cast<float*>(c_raw + layout.raw_bytes);
  float* const c_table = b_table + tile_length * a.state_size;
  float* const rates = c_table + tile_length * a.state_size;
  float* const carried_h = rates + channels * a.state_size;

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int time_lane = lane % time_lanes;
  const int channel = 2 * warp + lane / time_lanes;  // of the block
  const int channel0 = blockIdx.x * channels;
  const int64_t batch = blockIdx.y;
  const int64_t row0 = batch * a.length;
  const int channels_left = a.channels - channel0;
  const bool mine = channel < channels_left;
  const int n_count = a.state_size;

  const T* const x = static_cast<const T*>(a.x) + row0 * a.x_stride + channel0;
  const T* const dt = static_cast<const T*>(a.dt) + row0 * a.dt_stride + channel0;
  const T* const z = static_cast<const T*>(a.z) + row0 * a.z_stride + channel0;
  const T* const b = static_cast<const T*>(a.b) + row0 * a.b_stride;
  const T* const c = static_cast<const T*>(a.c) + row0 * a.c_stride;
  T* const out = static_cast<T*>(a.out) + row0 * a.out_stride + channel0;
  float* const state = a.state + (batch * a.channels + channel0) * n_count;

  const auto operand_row = [&](int t) { return layout.row_at(t); };
  const auto raw_row = [&](int t) { return t * n_count * static_cast<int>(sizeof(T)); };
  const auto load_inputs = [&](int64_t t0) {
    const int64_t left = a.length - t0;
    load_rows(x_tile, operand_row, x + t0 * a.x_stride, a.x_stride, left, channels, channels_left,
              aligned);
    load_rows(dt_tile, operand_row, dt + t0 * a.dt_stride, a.dt_stride, left, channels,
              channels_left, aligned);
    load_rows(b_raw, raw_row, b + t0 * a.b_stride, a.b_stride, left, n_count, n_count, bc_aligned);
    load_rows(c_raw, raw_row, c + t0 * a.c_stride, a.c_stride, left, n_count, n_count, bc_aligned);
  };

  const float bias = mine ? to_float(static_cast<const T*>(a.dt_bias)[channel0 + channel]) : 0;
  const float skip = mine ? to_float(static_cast<const T*>(a.d_skip)[channel0 + channel]) : 0;
  for (int i = threadIdx.x; i < channels * n_count; i += blockDim.x)
    rates[i] =
        i < channels_left * n_count
            ? -expf(to_float(static_cast<const T*>(a.a_log)[int64_t{channel0} * n_count + i])) *
                  log2_e
            : 0;
  let_next_start();
  wait_for_previous();
  const bool carried = a.past_ptr != nullptr && *a.past_ptr != 0;
  for (int i = threadIdx.x; i < channels * n_count; i += blockDim.x)
    carried_h[i] = carried && i < channels_left * n_count ? state[i] : 0;
  load_inputs(0);
  commit_copies();

  for (int64_t t0 = 0; t0 < a.length; t0 += tile_length) {
    wait_copies<0>();
    __syncthreads();

    // The lane's tokens. Past the end d is 0: the state stands still.
    float d[steps_per_lane], dx[steps_per_lane], y[steps_per_lane];
    float d_sum = 0;
#pragma unroll
    for (int i = 0; i < steps_per_lane; ++i) {
      const int at = layout.row_at(steps_per_lane * time_lane) + i * layout.operand_row;
      const float xi = to_float(reinterpret_cast<const T*>(x_tile + at)[channel]);
      const float di =
          softplus<T>(to_float(reinterpret_cast<const T*>(dt_tile + at)[channel]) + bias);
      d[i] = t0 + steps_per_lane * time_lane + i < a.length ? di : 0;
      dx[i] = d[i] * xi;
      y[i] = skip * xi;
      d_sum += d[i];
    }
    fill_table<T>(b_table, b_raw, n_count);
    fill_table<T>(c_table, c_raw, n_count);
    __syncthreads();
    load_rows(z_tile, operand_row, z + t0 * a.z_stride, a.z_stride, a.length - t0, channels,
              channels_left, aligned);
    commit_copies();
    if (t0 + tile_length < a.length) load_inputs(t0 + tile_length);
    commit_copies();

    for (int n = 0; n < n_count; ++n) {
      const float rate = rates[channel * n_count + n];
      const float h_start = carried_h[channel * n_count + n];
      const float4* const b_row =
          reinterpret_cast<const float4*>(b_table + n * tile_length) + time_lane;
      const float4* const c_row =
          reinterpret_cast<const float4*>(c_table + n * tile_length) + time_lane;
      float decay[steps_per_lane], source[steps_per_lane];
      float h = time_lane == 0 ? h_start : 0;
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const float4 bq = b_row[q * time_lanes];
        const float bv[4] = {bq.x, bq.y, bq.z, bq.w};
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const int i = 4 * q + r;
          const bool on_fma =
              kPolynomial > 0 && i % (steps_per_lane / (kPolynomial > 0 ? kPolynomial : 1)) ==
                                     steps_per_lane / (kPolynomial > 0 ? kPolynomial : 1) - 1;
          decay[i] = on_fma ? exp2_polynomial(rate * d[i]) : exp2_fast(rate * d[i]);
          source[i] = dx[i] * bv[r];
          h = fmaf(decay[i], h, source[i]);
        }
      }
      float span = exp2_fast(rate * d_sum);
#pragma unroll
      for (int step = 1; step < time_lanes; step *= 2) {
        const float h_before = __shfl_up_sync(all_lanes, h, step, time_lanes);
        const float span_before = __shfl_up_sync(all_lanes, span, step, time_lanes);
        if (time_lane >= step) {
          h = fmaf(span, h_before, h);
          span *= span_before;
        }
      }
      const float h_last = h;
      h = __shfl_up_sync(all_lanes, h, 1, time_lanes);
      if (time_lane == 0) h = h_start;
      if (time_lane == time_lanes - 1) carried_h[channel * n_count + n] = h_last;
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const float4 cq = c_row[q * time_lanes];
        const float cv[4] = {cq.x, cq.y, cq.z, cq.w};
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const int i = 4 * q + r;
          h = fmaf(decay[i], h, source[i]);
          y[i] = fmaf(cv[r], h, y[i]);
        }
      }
    }

    wait_copies<1>();
    __syncthreads();
#pragma unroll
    for (int i = 0; i < steps_per_lane; ++i) {
      const int at = layout.row_at(steps_per_lane * time_lane) + i * layout.operand_row;
      T* const gate = reinterpret_cast<T*>(z_tile + at) + channel;
      *gate = from_float<T>(y[i] * silu(to_float(*gate)));
    }
    __syncthreads();
    const int64_t left = a.length - t0;
    if (aligned) {
      const int pieces = channels / full_vector<T>;
      for (int i = threadIdx.x; i < tile_length * pieces; i += blockDim.x) {
        const int t = i / pieces, piece = i % pieces;
        if (t < left && piece * full_vector<T> < channels_left)
          *reinterpret_cast<uint4*>(out + (t0 + t) * a.out_stride + piece * full_vector<T>) =
              *reinterpret_cast<const uint4*>(z_tile + operand_row(t) + piece * 16);
      }
    } else {
      for (int i = threadIdx.x; i < tile_length * channels; i += blockDim.x) {
        const int t = i / channels, j = i % channels;
        if (t < left && j < channels_left)
          out[(t0 + t) * a.out_stride + j] = reinterpret_cast<const T*>(z_tile + operand_row(t))[j];
      }
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < channels * n_count; i += blockDim.x)
    if (i < channels_left * n_count) state[i] = carried_h[i];
}

constexpr int lanes_per_channel = 4;
constexpr int recurrence_threads = 128;

// Lane l of a channel holds states l * kPerLane .. + kPerLane - 1.
template <class T, int kPerLane>
__global__ void __launch_bounds__(recurrence_threads) scan_recurrence(SelectiveScanArgs a) {
  const int lane = threadIdx.x % lanes_per_channel;
  const int channel = (blockIdx.x * recurrence_threads + threadIdx.x) / lanes_per_channel;
  const bool mine = channel < a.channels;
  const int at = mine ? channel : 0;
  const int64_t batch = blockIdx.y;
  const int n0 = lane * kPerLane;
  float rate[kPerLane];
#pragma unroll
  for (int i = 0; i < kPerLane; ++i)
    rate[i] =
        n0 + i < a.state_size
            ? -expf(to_float(static_cast<const T*>(a.a_log)[int64_t{at} * a.state_size + n0 + i])) *
                  log2_e
            : 0;
  const float bias = to_float(static_cast<const T*>(a.dt_bias)[at]);
  const float skip = to_float(static_cast<const T*>(a.d_skip)[at]);
  let_next_start();
  wait_for_previous();
  const bool carried = a.past_ptr != nullptr && *a.past_ptr != 0;
  float* const state = a.state + (batch * a.channels + at) * a.state_size + n0;
  float h[kPerLane];
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) h[i] = carried && n0 + i < a.state_size ? state[i] : 0;
  for (int64_t t = 0; t < a.length; ++t) {
    const int64_t row = batch * a.length + t;
    const float x = to_float(static_cast<const T*>(a.x)[row * a.x_stride + at]);
    const float z = to_float(static_cast<const T*>(a.z)[row * a.z_stride + at]);
    const float d =
        softplus<T>(to_float(static_cast<const T*>(a.dt)[row * a.dt_stride + at]) + bias);
    const T* const b = static_cast<const T*>(a.b) + row * a.b_stride + n0;
    const T* const c = static_cast<const T*>(a.c) + row * a.c_stride + n0;
    float y = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const bool in = n0 + i < a.state_size;
      h[i] = fmaf(exp2_fast(rate[i] * d), h[i], d * x * (in ? to_float(b[i]) : 0));
      y = fmaf(in ? to_float(c[i]) : 0, h[i], y);
    }
    y = lane_sum<lanes_per_channel>(y);
    if (mine && lane == 0)
      static_cast<T*>(a.out)[row * a.out_stride + channel] =
          from_float<T>(fmaf(skip, x, y) * silu(z));
  }
#pragma unroll
  for (int i = 0; i < kPerLane; ++i)
    if (mine && n0 + i < a.state_size) state[i] = h[i];
}

template <class T>
int shared_bytes(int channels, int state_size) {
  return TileLayout<T>(channels, state_size).total();
}

template <class T>
void launch(const SelectiveScanArgs& a, const SelectiveScanChoice& choice, const Queue& queue) {
  if (choice.kernel == ScanKernel::recurrence) {
    const int per_lane = (a.state_size + lanes_per_channel - 1) / lanes_per_channel;
    if (per_lane > 64) check(cudaErrorNotSupported, "selective scan: state_size above 256");
    const auto kernel = per_lane <= 4    ? scan_recurrence<T, 4>
                        : per_lane <= 16 ? scan_recurrence<T, 16>
                                         : scan_recurrence<T, 64>;
    constexpr int channels = recurrence_threads / lanes_per_channel;
    launch_kernel(kernel,
                  dim3(static_cast<unsigned>((a.channels + channels - 1) / channels),
                       static_cast<unsigned>(a.batch)),
                  dim3(recurrence_threads), 0, queue, "selective scan recurrence", a);
    return;
  }
  const auto aligned = [](const void* p, int64_t stride) {
    return is_multiple_of(p, 16) && stride % full_vector<T> == 0;
  };
  const bool rows = aligned(a.x, a.x_stride) && aligned(a.dt, a.dt_stride) &&
                    aligned(a.z, a.z_stride) && aligned(a.out, a.out_stride) &&
                    a.channels % full_vector<T> == 0;
  const bool bc =
      aligned(a.b, a.b_stride) && aligned(a.c, a.c_stride) && a.state_size % full_vector<T> == 0;
  const int channels = choice.channels_per_block;
  const int shared = shared_bytes<T>(channels, a.state_size);
  const auto kernel = choice.polynomial > 0 ? scan_tiles<T, 2> : scan_tiles<T, 0>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared),
        "selective scan: shared memory");
  launch_kernel(kernel,
                dim3(static_cast<unsigned>((a.channels + channels - 1) / channels),
                     static_cast<unsigned>(a.batch)),
                dim3(static_cast<unsigned>(16 * channels)), static_cast<size_t>(shared), queue,
                "selective scan", a, channels, rows, bc);
}

}  // namespace

SelectiveScanChoice choose_selective_scan(const SelectiveScanArgs& a, int sm_count) {
  SelectiveScanChoice best;
  if (a.length <= 16 || a.state_size > 32) return best;
  int device = 0, shared_limit = 0;
  check(cudaGetDevice(&device), "selective scan: device");
  check(cudaDeviceGetAttribute(&shared_limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
        "selective scan: shared memory");
  // The busiest multiprocessor's channels decide; at a tie, wider rows.
  int64_t best_cost = std::numeric_limits<int64_t>::max();
  for (const int channels : {32, 24, 16, 8}) {
    const int bytes = a.dtype == DType::bf16 ? shared_bytes<bf16>(channels, a.state_size)
                                             : shared_bytes<float>(channels, a.state_size);
    if (bytes > shared_limit) continue;
    const int64_t thread_blocks = a.batch * ((a.channels + channels - 1) / channels);
    const int64_t cost = (thread_blocks + sm_count - 1) / sm_count * channels;
    if (cost < best_cost) {
      best_cost = cost;
      best.kernel = ScanKernel::tiles;
      best.channels_per_block = channels;
    }
  }
  return best;
}

std::string name(const SelectiveScanChoice& c) {
  if (c.kernel == ScanKernel::recurrence) return "selective scan recurrence";
  return "selective scan tiles, " + std::to_string(c.channels_per_block) + " channels" +
         (c.polynomial > 0 ? ", polynomial" : "");
}

void launch_selective_scan(const SelectiveScanArgs& a, const SelectiveScanChoice& choice,
                           const Queue& queue) {
  if (a.dtype == DType::bf16)
    launch<bf16>(a, choice, queue);
  else
    launch<float>(a, choice, queue);
}

}  // namespace tidemark::cuda
