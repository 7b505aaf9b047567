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

// Shared memory of a tile: three [tile_length, kChannels] operands, 16 bytes of padding after every
// lane's rows so that the lanes' columns spread over the banks; B and C as they arrive,
// [tile_length, state_size] each; B and C as fp32 [padded state_size][4][time_lanes][4]: element
// (q, lane, r) is token 16 lane + 4 q + r, so that lanes read 16 bytes each without conflict; A in
// base 2 and h, [kChannels] [padded state_size]. States are taken two at a time: an odd state_size
// is padded with zeros.
template <class T, int kChannels>
struct Tile {
  static constexpr int row_bytes = kChannels * static_cast<int>(sizeof(T));
  static constexpr int lane_bytes = steps_per_lane * row_bytes + 16;
  static constexpr int operand_bytes = time_lanes * lane_bytes;
  static constexpr int pieces = kChannels / full_vector<T>;  // of 16 bytes, of a row
  static constexpr int threads = kChannels * time_lanes;
  static constexpr int rows_per_pass = threads / pieces;
  static_assert(rows_per_pass % steps_per_lane == 0 && tile_length % rows_per_pass == 0);

  __host__ __device__ static int padded(int state_size) { return (state_size + 1) / 2 * 2; }
  __host__ __device__ static int raw_bytes(int state_size) {
    return (tile_length * state_size * static_cast<int>(sizeof(T)) + 15) / 16 * 16;
  }
  __host__ __device__ static int total(int state_size) {
    return 3 * operand_bytes + 2 * raw_bytes(state_size) +
           2 * padded(state_size) * (tile_length + kChannels) * 4;
  }
  __device__ static int row_at(int t) { return t * row_bytes + t / steps_per_lane * 16; }

  // Rows of a global operand into a tile; rows past the end become zeros. Whole 16-byte pieces
  // asynchronously where everything is aligned, else element by element.
  __device__ static void load(unsigned char* to, const T* from, int64_t stride, int64_t rows_left,
                              int channels_left, bool aligned) {
    if (aligned) {
      const int t = threadIdx.x / pieces, piece = threadIdx.x % pieces;
      const bool in = piece * full_vector<T> < channels_left;
      const uint32_t at = shared_address(to) + row_at(t) + piece * 16;
      const T* const source = from + piece * full_vector<T>;
#pragma unroll
      for (int pass = 0; pass < tile_length; pass += rows_per_pass) {
        const bool valid = in && t + pass < rows_left;
        copy_async(at + row_at(pass), valid ? source + (t + pass) * stride : from, valid);
      }
    } else {
      for (int i = threadIdx.x; i < tile_length * kChannels; i += threads) {
        const int t = i / kChannels, column = i % kChannels;
        const bool valid = t < rows_left && column < channels_left;
        reinterpret_cast<T*>(to + row_at(t))[column] =
            valid ? from[t * stride + column] : from_float<T>(0);
      }
    }
  }
  __device__ static void store(T* to, int64_t stride, const unsigned char* from, int64_t rows_left,
                               int channels_left, bool aligned) {
    if (aligned) {
      const int t = threadIdx.x / pieces, piece = threadIdx.x % pieces;
      if (piece * full_vector<T> >= channels_left) return;
#pragma unroll
      for (int pass = 0; pass < tile_length; pass += rows_per_pass)
        if (t + pass < rows_left)
          *reinterpret_cast<uint4*>(to + (t + pass) * stride + piece * full_vector<T>) =
              *reinterpret_cast<const uint4*>(from + row_at(t) + row_at(pass) + piece * 16);
    } else {
      for (int i = threadIdx.x; i < tile_length * kChannels; i += threads) {
        const int t = i / kChannels, column = i % kChannels;
        if (t < rows_left && column < channels_left)
          to[t * stride + column] = reinterpret_cast<const T*>(from + row_at(t))[column];
      }
    }
  }
  // [tile_length, n_count] rows of B or C as they are.
  __device__ static void load_raw(unsigned char* to, const T* from, int64_t stride,
                                  int64_t rows_left, int n_count, bool aligned) {
    if (aligned) {
      const int per_row = n_count / full_vector<T>;
      for (int i = threadIdx.x; i < tile_length * per_row; i += threads) {
        const int t = i / per_row, piece = i % per_row;
        const bool valid = t < rows_left;
        copy_async(shared_address(to) + i * 16,
                   from + (valid ? t * stride + piece * full_vector<T> : 0), valid);
      }
    } else {
      for (int i = threadIdx.x; i < tile_length * n_count; i += threads) {
        const int t = i / n_count, n = i % n_count;
        reinterpret_cast<T*>(to)[i] = t < rows_left ? from[t * stride + n] : from_float<T>(0);
      }
    }
  }
  // Those rows into the fp32 table. Consecutive threads take consecutive r, then lanes: their
  // stores do not conflict, their loads two by two.
  __device__ static void fill_table(float* table, const unsigned char* raw, int n_count) {
    constexpr int vector = full_vector<T>;
    const auto token = [](int slot) {
      return steps_per_lane * (slot / 4 % time_lanes) + slot / 64 * 4 + slot % 4;
    };
    if (n_count % vector == 0) {
      for (int i = threadIdx.x; i < tile_length * (n_count / vector); i += threads) {
        const int slot = i % tile_length, n0 = i / tile_length * vector;
        float v[vector];
        to_floats(
            load_vector<T, vector>(reinterpret_cast<const T*>(raw) + token(slot) * n_count + n0),
            v);
#pragma unroll
        for (int j = 0; j < vector; ++j) table[(n0 + j) * tile_length + slot] = v[j];
      }
    } else {
      for (int i = threadIdx.x; i < tile_length * padded(n_count); i += threads) {
        const int slot = i % tile_length, n = i / tile_length;
        table[i] =
            n < n_count ? to_float(reinterpret_cast<const T*>(raw)[token(slot) * n_count + n]) : 0;
      }
    }
  }
};

// Whether a block has the registers to begin a state before the last is finished, and how many
// blocks share a multiprocessor.
constexpr bool works_ahead(int channels) {
  return channels == 8 || channels == 24;
}
constexpr int resident_blocks(int channels) {
  return channels == 8 ? 3 : channels == 16 ? 2 : 1;
}

// What a lane holds of one state over its tokens.
struct Pass {
  float decay[steps_per_lane], source[steps_per_lane];
  float h_start, h, span;
};

// kState: the state_size, or 0 for whatever the arguments say.
template <class T, int kChannels, int kState>
__global__ void __launch_bounds__(kChannels* time_lanes, resident_blocks(kChannels))
    scan_tiles(SelectiveScanArgs a, bool aligned, bool bc_aligned) {
  using Tiles = Tile<T, kChannels>;
  constexpr bool kAhead = works_ahead(kChannels);
  extern __shared__ __align__(16) unsigned char shared_raw[];
  const int n_count = kState > 0 ? kState : a.state_size;
  const int n_padded = Tiles::padded(n_count);
  unsigned char* const x_tile = shared_raw;
  unsigned char* const dt_tile = x_tile + Tiles::operand_bytes;
  unsigned char* const z_tile = dt_tile + Tiles::operand_bytes;
  unsigned char* const b_raw = z_tile + Tiles::operand_bytes;
  unsigned char* const c_raw = b_raw + Tiles::raw_bytes(n_count);
  float* const b_table = reinterpret_cast<float*>(c_raw + Tiles::raw_bytes(n_count));
  float* const c_table = b_table + tile_length * n_padded;
  float* const rates = c_table + tile_length * n_padded;
  float* const carried_h = rates + kChannels * n_padded;

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  // Neighbouring lanes are the two channels at the same tokens: where lanes l and l ^ 1 read the
  // same 16 bytes, a warp takes two wavefronts of shared memory, else four.
  const int time_lane = lane / 2;
  const int channel = 2 * warp + lane % 2;  // of the block
  const int channel0 = blockIdx.x * kChannels;
  const int64_t batch = blockIdx.y;
  const int64_t row0 = batch * a.length;
  const int channels_left = a.channels - channel0;
  const bool mine = channel < channels_left;

  const T* const x = static_cast<const T*>(a.x) + row0 * a.x_stride + channel0;
  const T* const dt = static_cast<const T*>(a.dt) + row0 * a.dt_stride + channel0;
  const T* const z = static_cast<const T*>(a.z) + row0 * a.z_stride + channel0;
  const T* const b = static_cast<const T*>(a.b) + row0 * a.b_stride;
  const T* const c = static_cast<const T*>(a.c) + row0 * a.c_stride;
  T* const out = static_cast<T*>(a.out) + row0 * a.out_stride + channel0;
  float* const state = a.state + (batch * a.channels + channel0) * n_count;

  const auto load_inputs = [&](int64_t t0) {
    const int64_t left = a.length - t0;
    Tiles::load(x_tile, x + t0 * a.x_stride, a.x_stride, left, channels_left, aligned);
    Tiles::load(dt_tile, dt + t0 * a.dt_stride, a.dt_stride, left, channels_left, aligned);
    Tiles::load_raw(b_raw, b + t0 * a.b_stride, a.b_stride, left, n_count, bc_aligned);
    Tiles::load_raw(c_raw, c + t0 * a.c_stride, a.c_stride, left, n_count, bc_aligned);
  };

  const float bias = mine ? to_float(static_cast<const T*>(a.dt_bias)[channel0 + channel]) : 0;
  const float skip = mine ? to_float(static_cast<const T*>(a.d_skip)[channel0 + channel]) : 0;
  for (int i = threadIdx.x; i < kChannels * n_padded; i += Tiles::threads) {
    const int j = i / n_padded, n = i % n_padded;
    rates[i] =
        j < channels_left && n < n_count
            ? -expf(to_float(static_cast<const T*>(a.a_log)[int64_t{channel0 + j} * n_count + n])) *
                  log2_e
            : 0;
  }
  let_next_start();
  wait_for_previous();
  const bool carried = a.past_ptr != nullptr && *a.past_ptr != 0;
  for (int i = threadIdx.x; i < kChannels * n_padded; i += Tiles::threads) {
    const int j = i / n_padded, n = i % n_padded;
    carried_h[i] = carried && j < channels_left && n < n_count ? state[j * n_count + n] : 0;
  }
  load_inputs(0);
  commit_copies();

  const unsigned char* const my_x = x_tile + time_lane * Tiles::lane_bytes + channel * sizeof(T);
  const unsigned char* const my_dt = my_x + Tiles::operand_bytes;
  unsigned char* const my_z = z_tile + time_lane * Tiles::lane_bytes + channel * sizeof(T);
  for (int64_t t0 = 0; t0 < a.length; t0 += tile_length) {
    const int64_t left = a.length - t0;
    wait_copies<0>();
    __syncthreads();

    float d[steps_per_lane], dx[steps_per_lane], y[steps_per_lane];
#pragma unroll
    for (int i = 0; i < steps_per_lane; ++i) {
      const float xi = to_float(*reinterpret_cast<const T*>(my_x + i * Tiles::row_bytes));
      d[i] =
          softplus<T>(to_float(*reinterpret_cast<const T*>(my_dt + i * Tiles::row_bytes)) + bias);
      dx[i] = d[i] * xi;
      y[i] = skip * xi;
    }
    if (left < tile_length)  // past the end d is 0, as x is: the state stands still
#pragma unroll
      for (int i = 0; i < steps_per_lane; ++i)
        if (steps_per_lane * time_lane + i >= left) d[i] = 0;
    float d_sum = 0;
#pragma unroll
    for (int i = 0; i < steps_per_lane; ++i) d_sum += d[i];
    Tiles::fill_table(b_table, b_raw, n_count);
    Tiles::fill_table(c_table, c_raw, n_count);
    __syncthreads();
    Tiles::load(z_tile, z + t0 * a.z_stride, a.z_stride, left, channels_left, aligned);
    commit_copies();
    if (left > tile_length) load_inputs(t0 + tile_length);
    commit_copies();

    // Steps 2 to 4 for state n: begin() computes what does not depend on other lanes, finish() the
    // rest. begin() of the next state fills the time that finish() waits for exchanges.
    Pass one, other;
    const auto begin = [&](Pass& p, int n) {
      const float rate = rates[channel * n_padded + n];
      const float4* const b_row =
          reinterpret_cast<const float4*>(b_table + n * tile_length) + time_lane;
      p.h_start = carried_h[channel * n_padded + n];
      p.h = time_lane == 0 ? p.h_start : 0;
      p.span = exp2_fast(rate * d_sum);
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const float4 bq = b_row[q * time_lanes];
        const float bv[4] = {bq.x, bq.y, bq.z, bq.w};
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const int i = 4 * q + r;
          p.decay[i] = exp2_fast(rate * d[i]);
          p.source[i] = dx[i] * bv[r];
          p.h = fmaf(p.decay[i], p.h, p.source[i]);
        }
      }
    };
    const auto finish = [&](Pass& p, int n) {
      float h = p.h, span = p.span;
#pragma unroll
      for (int step = 1; step < time_lanes; step *= 2) {
        const float h_before = __shfl_up_sync(all_lanes, h, 2 * step);
        const float span_before = __shfl_up_sync(all_lanes, span, 2 * step);
        if (time_lane >= step) {
          h = fmaf(span, h_before, h);
          span *= span_before;
        }
      }
      if (time_lane == time_lanes - 1) carried_h[channel * n_padded + n] = h;
      h = __shfl_up_sync(all_lanes, h, 2);
      if (time_lane == 0) h = p.h_start;
      const float4* const c_row =
          reinterpret_cast<const float4*>(c_table + n * tile_length) + time_lane;
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const float4 cq = c_row[q * time_lanes];
        const float cv[4] = {cq.x, cq.y, cq.z, cq.w};
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const int i = 4 * q + r;
          h = fmaf(p.decay[i], h, p.source[i]);
          y[i] = fmaf(cv[r], h, y[i]);
        }
      }
    };
    if constexpr (kAhead) {
      begin(one, 0);
      int n = 0;
#pragma unroll 1
      for (; n + 2 < n_padded; n += 2) {
        begin(other, n + 1);
        finish(one, n);
        begin(one, n + 2);
        finish(other, n + 1);
      }
      begin(other, n + 1);
      finish(one, n);
      finish(other, n + 1);
    } else {
#pragma unroll 1
      for (int n = 0; n < n_padded; ++n) {
        begin(one, n);
        finish(one, n);
      }
    }

    wait_copies<1>();
    __syncthreads();
#pragma unroll
    for (int i = 0; i < steps_per_lane; ++i) {
      T* const gate = reinterpret_cast<T*>(my_z + i * Tiles::row_bytes);
      *gate = from_float<T>(y[i] * silu(to_float(*gate)));
    }
    __syncthreads();
    Tiles::store(out + t0 * a.out_stride, a.out_stride, z_tile, left, channels_left, aligned);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kChannels * n_padded; i += Tiles::threads) {
    const int j = i / n_padded, n = i % n_padded;
    if (j < channels_left && n < n_count) state[j * n_count + n] = carried_h[i];
  }
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
  // The state was written by an earlier step, and the position by the kernel that begins this one
  // (select.cu): neither needs the wait.
  const bool carried = a.past_ptr != nullptr && *a.past_ptr != 0;
  float* const state = a.state + (batch * a.channels + at) * a.state_size + n0;
  float h[kPerLane];
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) h[i] = carried && n0 + i < a.state_size ? state[i] : 0;
  let_next_start();
  wait_for_previous();
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
  return channels == 8    ? Tile<T, 8>::total(state_size)
         : channels == 16 ? Tile<T, 16>::total(state_size)
         : channels == 24 ? Tile<T, 24>::total(state_size)
                          : Tile<T, 32>::total(state_size);
}

template <class T, int kChannels>
void launch_tiles(const SelectiveScanArgs& a, const Queue& queue) {
  const auto aligned = [](const void* p, int64_t stride) {
    return is_multiple_of(p, 16) && stride % full_vector<T> == 0;
  };
  const bool rows = aligned(a.x, a.x_stride) && aligned(a.dt, a.dt_stride) &&
                    aligned(a.z, a.z_stride) && aligned(a.out, a.out_stride) &&
                    a.channels % full_vector<T> == 0;
  const bool bc =
      aligned(a.b, a.b_stride) && aligned(a.c, a.c_stride) && a.state_size % full_vector<T> == 0;
  const int shared = Tile<T, kChannels>::total(a.state_size);
  const auto kernel =
      a.state_size == 16 ? scan_tiles<T, kChannels, 16> : scan_tiles<T, kChannels, 0>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared),
        "selective scan: shared memory");
  launch_kernel(kernel,
                dim3(static_cast<unsigned>((a.channels + kChannels - 1) / kChannels),
                     static_cast<unsigned>(a.batch)),
                dim3(Tile<T, kChannels>::threads), static_cast<size_t>(shared), queue,
                "selective scan", a, rows, bc);
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
  switch (choice.channels_per_block) {
    case 8:
      return launch_tiles<T, 8>(a, queue);
    case 16:
      return launch_tiles<T, 16>(a, queue);
    case 24:
      return launch_tiles<T, 24>(a, queue);
    default:
      return launch_tiles<T, 32>(a, queue);
  }
}

}  // namespace

SelectiveScanChoice choose_selective_scan(const SelectiveScanArgs& a, int sm_count) {
  SelectiveScanChoice best;
  if (a.length <= 16 || a.state_size > 32) return best;
  int device = 0, shared_limit = 0;
  check(cudaGetDevice(&device), "selective scan: device");
  check(cudaDeviceGetAttribute(&shared_limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
        "selective scan: shared memory");
  // Microseconds that 1, 2, 3 blocks on the busiest multiprocessor took on an H200 for 8192 tokens
  // at state_size 16 (a lone block of 8 channels is extrapolated); more blocks take turns.
  struct Shape {
    int channels;
    double us[3];
  };
  constexpr Shape shapes[] = {{32, {354}}, {24, {272}}, {16, {260, 377}}, {8, {145, 218, 296}}};
  double best_us = std::numeric_limits<double>::infinity();
  for (const Shape& shape : shapes) {
    const int bytes = a.dtype == DType::bf16 ? shared_bytes<bf16>(shape.channels, a.state_size)
                                             : shared_bytes<float>(shape.channels, a.state_size);
    if (bytes > shared_limit) continue;
    const int together =
        std::min(resident_blocks(shape.channels), (shared_limit + 1024) / (bytes + 1024));
    const int64_t thread_blocks = a.batch * ((a.channels + shape.channels - 1) / shape.channels);
    const int64_t busiest = (thread_blocks + sm_count - 1) / sm_count;
    const int rest = static_cast<int>(busiest % together);
    const double us = static_cast<double>(busiest / together) * shape.us[together - 1] +
                      (rest > 0 ? shape.us[rest - 1] : 0);
    if (us < best_us) {
      best_us = us;
      best.kernel = ScanKernel::tiles;
      best.channels_per_block = shape.channels;
    }
  }
  return best;
}

std::string name(const SelectiveScanChoice& c) {
  if (c.kernel == ScanKernel::recurrence) return "selective scan recurrence";
  return "selective scan tiles, " + std::to_string(c.channels_per_block) + " channels";
}

void launch_selective_scan(const SelectiveScanArgs& a, const SelectiveScanChoice& choice,
                           const Queue& queue) {
  if (a.dtype == DType::bf16)
    launch<bf16>(a, choice, queue);
  else
    launch<float>(a, choice, queue);
}

}  // namespace tidemark::cuda
