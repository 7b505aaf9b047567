// State-space duality (Mamba-2, arXiv 2405.21060, section 6). Algorithm of `blocks`, per head and
// block of 64 tokens, with g_i the running sum of d A in the block and H the state that enters it:
//   1. S = C B^T; M_ij = S_ij exp(g_i - g_j) d_j for j <= i;
//   2. y = exp(g_i) C H^T + M x + D x;
//   3. H = exp(g_63) H + (x_j exp(g_63 - g_j) d_j)^T B, in fp32 registers from block to block;
//   4. the sequence is cut into segments, one thread block each: a first kernel takes step 3 alone
//   and
//      leaves the state at the end of every segment, the second folds those before its own and does
//      all. So x is read twice and y written once; states cost 1/blocks-per-segment of what
//      per-chunk states do.
//   5. A thread block is 1 to 3 warpgroups, a head (or a 64-wide slice of one) each, which share
//   the
//      tiles of B and C; the next tiles arrive by cp.async while the current ones are multiplied.
// Limits: 64 tokens cost 3.7 MFLOP per head (N 128) of tensor work, and bytes: x twice, y once.
// Rounded to bf16 on the way: M, H as an operand of step 2, x exp(..) d of step 3; sums are fp32.
//
// `recurrence`: a warp owns 4 rows of a head's state in registers, lanes along N, token after
// token. Decode moves the state at memory speed; fp32 prefill takes it too, being exact.
#include <algorithm>
#include <limits>

#include "backend/cuda/ssd.h"
#include "backend/cuda/tile.cuh"
#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {
namespace {

constexpr int block_length = ssd_block_length;
constexpr unsigned all_lanes = 0xffffffffu;

__device__ float step_size(float softplus_value, const SsdArgs& a) {
  const float d = fmaxf(softplus_value, a.dt_min);
  return a.dt_max > 0 ? fminf(d, a.dt_max) : d;
}

// ---------------------------------------------------------------------------------------- blocks

// Entering and leaving states of segments, in the workspace. A unit is a head's slice of 64 rows.
//   states [batch, segments, units, 64, N]: slot 0 the state that enters segment 0, slot s > 0 what
//   segment s - 1 leaves (the first with slot 0 in it, the others from zero);
//   decays [batch, segments, units]: log2 of a segment's whole decay.
struct Segments {
  float* states = nullptr;
  float* decays = nullptr;
  int count = 1;
  int blocks_each = 0;  // of 64 tokens
};

// What warp 0 of a warpgroup prepares for a block of tokens, double buffered.
struct Steps {
  float g[block_length];              // log2 of the decay from the block's start through token i
  float g_source[block_length];       // g_j - log2 d_j
  uint32_t to_end[block_length / 2];  // exp(g_63 - g_j) d_j, pairs of bf16
};

template <int kState, bool kOutput>
constexpr int stage_bytes(int heads) {
  return (kState / 64 * (kOutput ? 2 : 1) + heads) * panel_bytes;
}
template <int kState, bool kOutput>
constexpr int shared_bytes(int heads) {
  return 1024 + 2 * stage_bytes<kState, kOutput>(heads) +
         (kOutput ? heads * kState / 64 * panel_bytes : 0) +
         heads * 2 * static_cast<int>(sizeof(Steps));
}
constexpr int resident_blocks(int state, int heads, bool output) {
  if (state > 128 || heads == 3) return 1;
  if (output) return heads == 1 ? 3 : 1;
  return heads == 1 ? 4 : 2;
}

// Rows first..first+63 of a [length, .] operand, 64 columns from `from`, into a panel; rows past
// the end become zeros. `piece` of `pieces` threads does its part.
__device__ void load_panel(uint32_t panel, const bf16* from, int64_t stride, int64_t rows_left,
                           int thread, int threads) {
  for (int i = thread; i < 512; i += threads) {
    const int row = i / 8, piece = i % 8;
    const bool valid = row < rows_left;
    copy_async(panel + swizzled(row, piece), from + (valid ? row * stride : 0) + piece * 8, valid);
  }
}

template <int kState, int kHeads, bool kOutput>
__global__ void __launch_bounds__(128 * kHeads, resident_blocks(kState, kHeads, kOutput))
    ssd_blocks(SsdArgs a, Segments segments) {
  constexpr int panels = kState / 64;
  constexpr int stage_size = stage_bytes<kState, kOutput>(kHeads);
  extern __shared__ unsigned char shared_raw[];
  const uint32_t shared0 = (shared_address(shared_raw) + 1023) & ~1023u;
  unsigned char* const base = shared_raw + (shared0 - shared_address(shared_raw));

  const int group = threadIdx.x / 128;  // warpgroup
  const int thread = threadIdx.x % 128, warp = thread / 32, lane = thread % 32;
  const int row = 16 * warp + lane / 4;  // of the accumulators: row and row + 8
  const int pair = lane % 4;             // columns 8 t + 2 pair, + 1
  const int slices = a.head_dim / 64;
  const int units = a.heads * slices;
  const int unit = blockIdx.y * kHeads + group;
  const int head = unit / slices;
  const int segment = blockIdx.x;
  const int64_t batch = blockIdx.z;
  const int64_t row0 = batch * a.length;
  const int b_group = (blockIdx.y * kHeads) / (units / a.groups);
  const bf16* const x_from = static_cast<const bf16*>(a.x) + row0 * a.x_stride + unit * 64;
  const bf16* const b_from =
      static_cast<const bf16*>(a.b) + row0 * a.b_stride + static_cast<int64_t>(b_group) * kState;
  const bf16* const c_from =
      static_cast<const bf16*>(a.c) + row0 * a.c_stride + static_cast<int64_t>(b_group) * kState;
  const bf16* const dt_from = static_cast<const bf16*>(a.dt) + row0 * a.dt_stride + head;

  const auto stage_at = [&](int stage) { return shared0 + stage * stage_size; };
  const auto b_at = [&](int stage, int panel) { return stage_at(stage) + panel * panel_bytes; };
  const auto c_at = [&](int stage, int panel) {
    return stage_at(stage) + (panels + panel) * panel_bytes;
  };
  const auto x_at = [&](int stage) {
    return stage_at(stage) + (panels * (kOutput ? 2 : 1) + group) * panel_bytes;
  };
  constexpr int h_offset = 2 * stage_size;
  constexpr int steps_offset = h_offset + (kOutput ? kHeads * panels * panel_bytes : 0);
  const uint32_t h_at = shared0 + h_offset + group * panels * panel_bytes;
  Steps* const steps = reinterpret_cast<Steps*>(base + steps_offset) + 2 * group;

  const int blocks = static_cast<int>((a.length + block_length - 1) / block_length);
  const int first = segment * segments.blocks_each;
  const int last = min(blocks, first + segments.blocks_each);  // one past

  const auto load_stage = [&](int block, int stage) {
    const int64_t t0 = static_cast<int64_t>(block) * block_length;
    const int64_t left = a.length - t0;
#pragma unroll
    for (int p = 0; p < panels; ++p) {
      load_panel(b_at(stage, p), b_from + t0 * a.b_stride + p * 64, a.b_stride, left, threadIdx.x,
                 128 * kHeads);
      if (kOutput)
        load_panel(c_at(stage, p), c_from + t0 * a.c_stride + p * 64, a.c_stride, left, threadIdx.x,
                   128 * kHeads);
    }
    load_panel(x_at(stage), x_from + t0 * a.x_stride, a.x_stride, left, thread, 128);
  };

  const float rate = -expf(to_float(static_cast<const bf16*>(a.a_log)[head])) * log2_e;
  const float bias = to_float(static_cast<const bf16*>(a.dt_bias)[head]);
  const float skip = to_float(static_cast<const bf16*>(a.d_skip)[head]);

  let_next_start();
  wait_for_previous();
  if (first >= last) return;

  float dt_raw[2];  // of warp 0: tokens 2 lane, 2 lane + 1 of the block to come
  const auto load_dt = [&](int block) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t t = static_cast<int64_t>(block) * block_length + 2 * lane + i;
      dt_raw[i] = t < a.length ? to_float(dt_from[t * a.dt_stride]) : 0;
    }
  };
  float decay_sum = 0;
  const auto prepare_steps = [&](int block) {
    Steps& s = steps[block & 1];
    float d[2], e[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t t = static_cast<int64_t>(block) * block_length + 2 * lane + i;
      d[i] = t < a.length ? step_size(softplus<bf16>(dt_raw[i] + bias), a) : 0;
      e[i] = d[i] * rate;
    }
    float sum = e[0] + e[1];
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const float other = __shfl_up_sync(all_lanes, sum, step);
      if (lane >= step) sum += other;
    }
    const float total = __shfl_sync(all_lanes, sum, 31);
    decay_sum += total;
    const float g[2] = {sum - e[1], sum};
    const float source[2] = {g[0] - log2_fast(d[0]), g[1] - log2_fast(d[1])};
    *reinterpret_cast<float2*>(&s.g[2 * lane]) = make_float2(g[0], g[1]);
    *reinterpret_cast<float2*>(&s.g_source[2 * lane]) = make_float2(source[0], source[1]);
    s.to_end[lane] = pack_bf16(exp2_fast(total - source[0]), exp2_fast(total - source[1]));
  };

  load_stage(first, first & 1);
  commit_copies();
  if (warp == 0) {
    load_dt(first);
    prepare_steps(first);
    if (first + 1 < last) load_dt(first + 1);
  }

  // The state that enters.
  float h[panels][32];
  const bool carried = a.past_ptr != nullptr && *a.past_ptr != 0;
  const int64_t unit_states = static_cast<int64_t>(64) * kState;
  float* const state_of_unit = a.state + (batch * units + unit) * unit_states;
  const auto slot = [&](int s) {
    return segments.states + ((batch * segments.count + s) * units + unit) * unit_states;
  };
  const auto decay_of = [&](int s) {
    return segments.decays + (batch * segments.count + s) * units + unit;
  };
  // The two floats of (row + 8 i, column 8 t + 2 pair of panel p) of a state in global memory.
  const auto at = [&](float* from, int p, int t, int i) {
    return reinterpret_cast<float2*>(from + (row + 8 * i) * kState + p * 64 + 8 * t + 2 * pair);
  };
  const auto load_state = [&](float* from, float decay) {
#pragma unroll
    for (int p = 0; p < panels; ++p)
#pragma unroll
      for (int t = 0; t < 8; ++t)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float2 v = *at(from, p, t, i);
          h[p][4 * t + 2 * i] = fmaf(h[p][4 * t + 2 * i], decay, v.x);
          h[p][4 * t + 2 * i + 1] = fmaf(h[p][4 * t + 2 * i + 1], decay, v.y);
        }
  };
  const auto store_state = [&](float* to) {
#pragma unroll
    for (int p = 0; p < panels; ++p)
#pragma unroll
      for (int t = 0; t < 8; ++t)
#pragma unroll
        for (int i = 0; i < 2; ++i)
          *at(to, p, t, i) = make_float2(h[p][4 * t + 2 * i], h[p][4 * t + 2 * i + 1]);
  };
  // The state as an operand.
  const auto publish_state = [&] {
    unsigned char* const h_base = base + h_offset + group * panels * panel_bytes;
#pragma unroll
    for (int p = 0; p < panels; ++p)
#pragma unroll
      for (int t = 0; t < 8; ++t)
#pragma unroll
        for (int i = 0; i < 2; ++i)
          *reinterpret_cast<uint32_t*>(h_base + p * panel_bytes + swizzled(row + 8 * i, t) +
                                       4 * pair) =
              pack_bf16(h[p][4 * t + 2 * i], h[p][4 * t + 2 * i + 1]);
  };
#pragma unroll
  for (int p = 0; p < panels; ++p)
#pragma unroll
    for (int i = 0; i < 32; ++i) h[p][i] = 0;
  if (kOutput && segments.count > 1) {
    load_state(slot(min(segment, 1)), 0);
    for (int s = 2; s <= segment; ++s) load_state(slot(s), exp2_fast(*decay_of(s - 1)));
  } else if (segment == 0) {
    if (carried) load_state(state_of_unit, 0);
    if (!kOutput) store_state(slot(0));
  }
  if (kOutput) publish_state();

  for (int block = first; block < last; ++block) {
    const int stage = block & 1;
    wait_copies<0>();
    fence_for_products();
    __syncthreads();
    if (block + 1 < last) {
      load_stage(block + 1, stage ^ 1);
      commit_copies();
    }
    const Steps& now = steps[stage];
    const uint32_t x_panel = x_at(stage);

    float y[32];
    uint32_t m[4][4];
    if constexpr (kOutput) {
      float s[32];
      begin_products();
#pragma unroll
      for (int p = 0; p < panels; ++p) {
        if (p == 0)
          add_product<false>(s, c_at(stage, p), b_at(stage, p));
        else
          add_product<true>(s, c_at(stage, p), b_at(stage, p));
      }
      commit_products();
#pragma unroll
      for (int p = 0; p < panels; ++p) {
        if (p == 0)
          add_product<false>(y, c_at(stage, p), h_at + p * panel_bytes);
        else
          add_product<true>(y, c_at(stage, p), h_at + p * panel_bytes);
      }
      commit_products();
      if (warp == 0 && block + 1 < last) {
        prepare_steps(block + 1);
        if (block + 2 < last) load_dt(block + 2);
      }
      const float g[2] = {now.g[row], now.g[row + 8]};
      const float decay[2] = {exp2_fast(g[0]), exp2_fast(g[1])};
      wait_products<1>();
      pin(s);
#pragma unroll
      for (int t = 0; t < 8; ++t) {
        uint32_t low = 0, high = 0;
        if (t <= 2 * warp + 1) {  // else all above the diagonal
          const float2 source = *reinterpret_cast<const float2*>(&now.g_source[8 * t + 2 * pair]);
          const int column = 8 * t + 2 * pair;
          float v[4];
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            v[2 * i] = s[4 * t + 2 * i] * exp2_fast(g[i] - source.x);
            v[2 * i + 1] = s[4 * t + 2 * i + 1] * exp2_fast(g[i] - source.y);
            if (column > row + 8 * i) v[2 * i] = 0;
            if (column + 1 > row + 8 * i) v[2 * i + 1] = 0;
          }
          low = pack_bf16(v[0], v[1]);
          high = pack_bf16(v[2], v[3]);
        }
        m[t / 2][t % 2 * 2] = low;
        m[t / 2][t % 2 * 2 + 1] = high;
      }
      wait_products<0>();
      pin(y);
#pragma unroll
      for (int t = 0; t < 8; ++t)
#pragma unroll
        for (int i = 0; i < 4; ++i) y[4 * t + i] *= decay[i / 2];
      pin(y);
      begin_products();
      add_product(y, m, x_panel);
      commit_products();
    } else if (warp == 0 && block + 1 < last) {
      prepare_steps(block + 1);
      if (block + 2 < last) load_dt(block + 2);
    }

    // Step 3. A is x^T with its columns, the tokens, scaled.
    uint32_t xt[4][4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      load_matrix_transposed(
          xt[k], x_panel + swizzled(16 * k + lane % 8 + lane / 16 * 8, 2 * warp + lane / 8 % 2));
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint32_t weight = now.to_end[8 * k + 4 * i + pair];
#pragma unroll
        for (int j = 0; j < 2; ++j)
          asm("mul.rn.bf16x2 %0, %0, %1;" : "+r"(xt[k][2 * i + j]) : "r"(weight));
      }
    }
    const float decay = exp2_fast(now.g[block_length - 1]);
#pragma unroll
    for (int p = 0; p < panels; ++p) {
#pragma unroll
      for (int i = 0; i < 32; ++i) h[p][i] *= decay;
      pin(h[p]);
    }
    begin_products();
#pragma unroll
    for (int p = 0; p < panels; ++p) add_product(h[p], xt, b_at(stage, p));
    commit_products();

    if constexpr (kOutput) {
      wait_products<1>();
      pin(y);
    }
    wait_products<0>();
#pragma unroll
    for (int p = 0; p < panels; ++p) pin(h[p]);
    if constexpr (kOutput) {
      warpgroup_barrier(group);  // x and the published state have been read by all
      // y takes the place of x, each element by the thread that holds it, and leaves in whole rows.
      unsigned char* const y_base = base + (x_panel - shared0);
#pragma unroll
      for (int t = 0; t < 8; ++t)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          uint32_t* const word =
              reinterpret_cast<uint32_t*>(y_base + swizzled(row + 8 * i, t) + 4 * pair);
          *word = pack_bf16(fmaf(skip, low_half(*word), y[4 * t + 2 * i]),
                            fmaf(skip, high_half(*word), y[4 * t + 2 * i + 1]));
        }
      __syncwarp();
      const int64_t t0 = static_cast<int64_t>(block) * block_length;
      bf16* const out = static_cast<bf16*>(a.out) + (row0 + t0) * a.out_stride + unit * 64;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int r = 16 * warp + 4 * i + lane / 8, piece = lane % 8;
        if (t0 + r < a.length)
          *reinterpret_cast<uint4*>(out + r * a.out_stride + piece * 8) =
              *reinterpret_cast<const uint4*>(y_base + swizzled(r, piece));
      }
      if (block + 1 < last) publish_state();
    }
  }

  if constexpr (kOutput) {
    if (segment == segments.count - 1) store_state(state_of_unit);
  } else {
    store_state(slot(segment + 1));
    if (thread == 0) *decay_of(segment) = decay_sum;
  }
}

// ------------------------------------------------------------------------------------ recurrence

constexpr int rows_per_warp = 4;
constexpr int recurrence_warps = 4;

// kPerLane: state elements per lane and row; lane l holds n = l + 32 i.
template <class T, int kPerLane>
__global__ void __launch_bounds__(32 * recurrence_warps) ssd_recurrence(SsdArgs a) {
  constexpr int kRows = rows_per_warp;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int p0 = (blockIdx.x * recurrence_warps + warp) * kRows;
  const int head = blockIdx.y;
  const int64_t batch = blockIdx.z;
  if (p0 >= a.head_dim) return;
  const float rate = -expf(to_float(static_cast<const T*>(a.a_log)[head])) * log2_e;
  const float bias = to_float(static_cast<const T*>(a.dt_bias)[head]);
  const float skip = to_float(static_cast<const T*>(a.d_skip)[head]);
  let_next_start();
  wait_for_previous();

  const int64_t row0 = batch * a.length;
  const int n_group = head / (a.heads / a.groups) * a.state_size;
  const T* const x =
      static_cast<const T*>(a.x) + row0 * a.x_stride + static_cast<int64_t>(head) * a.head_dim + p0;
  const T* const dt = static_cast<const T*>(a.dt) + row0 * a.dt_stride + head;
  const T* const b = static_cast<const T*>(a.b) + row0 * a.b_stride + n_group;
  const T* const c = static_cast<const T*>(a.c) + row0 * a.c_stride + n_group;
  T* const out =
      static_cast<T*>(a.out) + row0 * a.out_stride + static_cast<int64_t>(head) * a.head_dim + p0;
  float* const state = a.state + ((batch * a.heads + head) * a.head_dim + p0) * a.state_size;
  const bool carried = a.past_ptr != nullptr && *a.past_ptr != 0;
  const int rows = min(kRows, a.head_dim - p0);

  float h[kRows][kPerLane];
#pragma unroll
  for (int r = 0; r < kRows; ++r)
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int n = lane + 32 * i;
      h[r][i] = carried && r < rows && n < a.state_size ? state[r * a.state_size + n] : 0;
    }

  for (int64_t t0 = 0; t0 < a.length; t0 += 32) {
    // A token per lane: step size, decay, x.
    const int64_t mine = t0 + lane;
    const bool valid = mine < a.length;
    const float d = valid ? step_size(softplus<T>(to_float(dt[mine * a.dt_stride]) + bias), a) : 0;
    const float decay_mine = exp2_fast(d * rate);
    float x_mine[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r)
      x_mine[r] = valid && r < rows ? to_float(x[mine * a.x_stride + r]) : 0;

    const int count = static_cast<int>(min(int64_t{32}, a.length - t0));
    float bv[kPerLane], cv[kPerLane];
    const auto load_bc = [&](int64_t t) {
#pragma unroll
      for (int i = 0; i < kPerLane; ++i) {
        const int n = lane + 32 * i;
        const bool in = n < a.state_size && t < a.length;
        bv[i] = in ? to_float(b[t * a.b_stride + n]) : 0;
        cv[i] = in ? to_float(c[t * a.c_stride + n]) : 0;
      }
    };
    load_bc(t0);
    for (int j = 0; j < count; ++j) {
      float b_now[kPerLane], c_now[kPerLane];
#pragma unroll
      for (int i = 0; i < kPerLane; ++i) b_now[i] = bv[i], c_now[i] = cv[i];
      load_bc(t0 + j + 1);
      const float decay = __shfl_sync(all_lanes, decay_mine, j);
      const float dj = __shfl_sync(all_lanes, d, j);
      float sum[kRows], xj[kRows];
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        xj[r] = __shfl_sync(all_lanes, x_mine[r], j);
        const float dx = dj * xj[r];
        sum[r] = 0;
#pragma unroll
        for (int i = 0; i < kPerLane; ++i) {
          h[r][i] = fmaf(decay, h[r][i], dx * b_now[i]);
          sum[r] = fmaf(c_now[i], h[r][i], sum[r]);
        }
      }
      // Four sums over 32 lanes in six exchanges: lanes 8 r .. 8 r + 7 end up with row r.
      static_assert(kRows == 4);
      const bool upper = lane & 16, odd = lane & 8;
      const float s0 =
          (upper ? sum[2] : sum[0]) + __shfl_xor_sync(all_lanes, upper ? sum[0] : sum[2], 16);
      const float s1 =
          (upper ? sum[3] : sum[1]) + __shfl_xor_sync(all_lanes, upper ? sum[1] : sum[3], 16);
      float s = (odd ? s1 : s0) + __shfl_xor_sync(all_lanes, odd ? s0 : s1, 8);
      s = lane_sum<8>(s);
      const float x_of_row = upper ? (odd ? xj[3] : xj[2]) : (odd ? xj[1] : xj[0]);
      if (lane % 8 == 0 && lane / 8 < rows)
        out[(t0 + j) * a.out_stride + lane / 8] = from_float<T>(fmaf(skip, x_of_row, s));
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r)
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int n = lane + 32 * i;
      if (r < rows && n < a.state_size) state[r * a.state_size + n] = h[r][i];
    }
}

// -------------------------------------------------------------------------------------- launching

template <int kState, int kHeads>
void launch_blocks(const SsdArgs& a, const SsdChoice& choice, void* workspace, const Queue& queue) {
  const int units = a.heads * (a.head_dim / 64);
  const int blocks = static_cast<int>((a.length + block_length - 1) / block_length);
  Segments s;
  s.count = choice.segments;
  s.blocks_each = (blocks + s.count - 1) / s.count;
  s.states = static_cast<float*>(workspace);
  s.decays = s.states + a.batch * s.count * units * int64_t{64} * kState;
  const auto batch = static_cast<unsigned>(a.batch);
  const auto unit_blocks = static_cast<unsigned>(units / kHeads);
  const auto run = [&](auto kernel, int segments, int shared, const char* what) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared), what);
    launch_kernel(kernel, dim3(static_cast<unsigned>(segments), unit_blocks, batch),
                  dim3(128 * kHeads), static_cast<size_t>(shared), queue, what, a, s);
  };
  if (s.count > 1)
    run(ssd_blocks<kState, kHeads, false>, s.count - 1, shared_bytes<kState, false>(kHeads),
        "ssd states");
  run(ssd_blocks<kState, kHeads, true>, s.count, shared_bytes<kState, true>(kHeads), "ssd blocks");
}

template <class T>
void launch_recurrence(const SsdArgs& a, const Queue& queue) {
  const int per_lane = (a.state_size + 31) / 32;
  const auto kernel = per_lane <= 1   ? ssd_recurrence<T, 1>
                      : per_lane <= 2 ? ssd_recurrence<T, 2>
                      : per_lane <= 4 ? ssd_recurrence<T, 4>
                                      : ssd_recurrence<T, 8>;
  constexpr int rows = rows_per_warp * recurrence_warps;
  const dim3 grid(static_cast<unsigned>((a.head_dim + rows - 1) / rows),
                  static_cast<unsigned>(a.heads), static_cast<unsigned>(a.batch));
  launch_kernel(kernel, grid, dim3(32 * recurrence_warps), 0, queue, "ssd recurrence", a);
}

int output_shared_bytes(int state, int heads) {
  return state == 64    ? shared_bytes<64, true>(heads)
         : state == 128 ? shared_bytes<128, true>(heads)
                        : shared_bytes<256, true>(heads);
}

}  // namespace

SsdChoice choose_ssd(const SsdArgs& a, bool chunked, int sm_count) {
  SsdChoice best;
  const auto aligned = [](const void* p, int64_t stride) {
    return is_multiple_of(p, 16) && stride % 8 == 0;
  };
  const bool fits = a.dtype == DType::bf16 && a.head_dim % 64 == 0 &&
                    (a.state_size == 64 || a.state_size == 128 || a.state_size == 256) &&
                    aligned(a.x, a.x_stride) && aligned(a.b, a.b_stride) &&
                    aligned(a.c, a.c_stride) && aligned(a.out, a.out_stride) && a.length > 16;
  if (!chunked || !fits) return best;
  best.kernel = SsdKernel::blocks;
  int device = 0, shared_limit = 0;
  check(cudaGetDevice(&device), "ssd: device");
  check(cudaDeviceGetAttribute(&shared_limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
        "ssd: shared memory");
  // Rounds of resident thread blocks times what each does, in units of one 64-token block of a
  // warpgroup; warpgroups of one multiprocessor share its tensor cores.
  const int units = a.heads * (a.head_dim / 64);
  const int64_t blocks = (a.length + block_length - 1) / block_length;
  double best_cost = std::numeric_limits<double>::infinity();
  for (int heads = a.state_size == 256 ? 1 : 3; heads >= 1; --heads) {
    const int bytes = output_shared_bytes(a.state_size, heads);
    if (units / a.groups % heads != 0 || bytes > shared_limit) continue;
    const int resident = std::min(resident_blocks(a.state_size, heads, true),
                                  std::max(1, (shared_limit + 1024) / (bytes + 1024)));
    for (int segments = 1; segments <= std::max<int64_t>(1, std::min<int64_t>(64, blocks / 2));
         ++segments) {
      const int64_t each = (blocks + segments - 1) / segments;
      if ((blocks + each - 1) / each != segments) continue;  // the last ones would be empty
      const int64_t thread_blocks = a.batch * segments * (units / heads);
      const int64_t slots = static_cast<int64_t>(sm_count) * resident;
      const int64_t rounds = (thread_blocks + slots - 1) / slots;
      const double states = segments > 1 ? 0.35 * static_cast<double>(each) + 2 : 0;
      const double fold = segments > 1 ? 0.5 * segments : 0;
      const double cost = static_cast<double>(rounds) * resident * heads *
                          (static_cast<double>(each) + states + fold);
      if (cost < best_cost)
        best_cost = cost, best.heads_per_block = heads, best.segments = segments;
    }
  }
  return best;
}

std::string name(const SsdChoice& c) {
  if (c.kernel == SsdKernel::recurrence) return "ssd recurrence";
  return "ssd blocks of 64, " + std::to_string(c.heads_per_block) + " heads, " +
         std::to_string(c.segments) + " segments";
}

size_t ssd_workspace_bytes(const SsdArgs& a, const SsdChoice& c) {
  if (c.kernel == SsdKernel::recurrence || c.segments == 1) return 0;
  const int64_t slots = a.batch * c.segments * a.heads * (a.head_dim / 64);
  return static_cast<size_t>(slots * (int64_t{64} * a.state_size + 1)) * sizeof(float);
}

void launch_ssd(const SsdArgs& a, const SsdChoice& choice, void* workspace, const Queue& queue) {
  if (choice.kernel == SsdKernel::recurrence) {
    if (a.state_size > 256) check(cudaErrorNotSupported, "ssd: state_size above 256");
    if (a.dtype == DType::bf16)
      launch_recurrence<bf16>(a, queue);
    else
      launch_recurrence<float>(a, queue);
    return;
  }
  const auto launch = [&](auto state) {
    constexpr int n = decltype(state)::value;
    if constexpr (n == 256) {
      launch_blocks<n, 1>(a, choice, workspace, queue);
    } else {
      if (choice.heads_per_block == 3) launch_blocks<n, 3>(a, choice, workspace, queue);
      if (choice.heads_per_block == 2) launch_blocks<n, 2>(a, choice, workspace, queue);
      if (choice.heads_per_block == 1) launch_blocks<n, 1>(a, choice, workspace, queue);
    }
  };
  if (a.state_size == 64) launch(std::integral_constant<int, 64>{});
  if (a.state_size == 128) launch(std::integral_constant<int, 128>{});
  if (a.state_size == 256) launch(std::integral_constant<int, 256>{});
}

}  // namespace tidemark::cuda
