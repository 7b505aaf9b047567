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
#include <cmath>
#include <limits>

#include "backend/cuda/ssd.h"
#include "backend/cuda/tile.cuh"
#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {
namespace {

constexpr int block_length = ssd_block_length;
constexpr int max_segments = 64;
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

constexpr int stages(bool output) {
  return output ? 2 : 3;
}
constexpr int stage_bytes(int state, int heads, bool output) {
  return (state / 64 * (output ? 2 : 1) + heads) * panel_bytes;
}
constexpr int shared_bytes(int state, int heads, bool output) {
  return 1024 + stages(output) * stage_bytes(state, heads, output) +
         (output ? heads * state / 64 * panel_bytes : 0) +
         heads * 2 * static_cast<int>(sizeof(Steps));
}
// Thread blocks that registers let a multiprocessor hold.
constexpr int resident_blocks(int state, int heads, bool output) {
  if (state > 128 || heads > 1) return 1;
  return output ? 2 : 3;
}

template <int kState, int kHeads, bool kOutput>
__global__ void __launch_bounds__(128 * kHeads, resident_blocks(kState, kHeads, kOutput))
    ssd_blocks(SsdArgs a, Segments segments) {
  constexpr int panels = kState / 64, kStages = stages(kOutput);
  constexpr int stage_size = stage_bytes(kState, kHeads, kOutput);
  extern __shared__ unsigned char shared_raw[];
  const uint32_t shared0 = (shared_address(shared_raw) + 1023) & ~1023u;
  unsigned char* const base = shared_raw + (shared0 - shared_address(shared_raw));

  const int group = kHeads == 1 ? 0 : __shfl_sync(all_lanes, threadIdx.x / 128, 0);  // warpgroup
  const int thread = threadIdx.x % 128, lane = threadIdx.x % 32;
  const int warp = __shfl_sync(all_lanes, thread / 32, 0);
  const int row = 16 * warp + lane / 4;  // of the accumulators: row and row + 8
  const int pair = lane % 4;             // columns 8 t + 2 pair, + 1
  const int slices = a.head_dim / 64;
  const int units = a.heads * slices;
  const int unit = blockIdx.y * kHeads + group;
  const int head = unit / slices;
  const int segment = blockIdx.x;
  const int64_t batch = blockIdx.z;
  const int64_t row0 = batch * a.length;
  const int64_t bc_column = (blockIdx.y * kHeads) / (units / a.groups) * int64_t{kState};
  // Copies: 16 rows of 8 pieces of 16 bytes at a time, a piece per thread.
  const int copy_row = thread / 8, copy_piece = thread % 8;
  const auto rows_from = [&](const void* operand, int64_t stride, int64_t column) {
    return static_cast<const bf16*>(operand) + (row0 + copy_row) * stride + column + copy_piece * 8;
  };
  const bf16* const x_rows = rows_from(a.x, a.x_stride, unit * 64);
  const bf16* const b_rows = rows_from(a.b, a.b_stride, bc_column);
  const bf16* const c_rows = rows_from(a.c, a.c_stride, bc_column);
  const bf16* const dt_from = static_cast<const bf16*>(a.dt) + row0 * a.dt_stride + head;

  // A stage: panels of B, of C, of x by warpgroup.
  constexpr int bc_panels = panels * (kOutput ? 2 : 1);
  const auto b_at = [&](int stage, int panel) {
    return shared0 + stage * stage_size + panel * panel_bytes;
  };
  const auto c_at = [&](int stage, int panel) { return b_at(stage, panels + panel); };
  const auto x_at = [&](int stage) { return b_at(stage, bc_panels + group); };
  const uint32_t h_at = b_at(kStages, group * panels);
  Steps* const steps = reinterpret_cast<Steps*>(base + kStages * stage_size +
                                                (kOutput ? kHeads * panels * panel_bytes : 0)) +
                       2 * group;

  const int blocks = static_cast<int>((a.length + block_length - 1) / block_length);
  const int first = segment * segments.blocks_each;
  const int last = min(blocks, first + segments.blocks_each);  // one past

  const auto load_stage = [&](int block, int stage) {
    const int64_t t0 = static_cast<int64_t>(block) * block_length;
    const int left = static_cast<int>(min(int64_t{block_length}, a.length - t0)) - copy_row;
    const uint32_t to = shared0 + stage * stage_size + swizzled(copy_row, copy_piece);
    const auto copy = [&](uint32_t offset, const bf16* rows, int64_t stride, int r, int column) {
      const bool valid = r < left;
      copy_async(to + offset, rows + (valid ? (t0 + r) * stride + column : 0), valid);
    };
    // The warpgroups deal out the units of 16 rows of B and C.
#pragma unroll
    for (int i = 0; i < (bc_panels * 4 + kHeads - 1) / kHeads; ++i) {
      const int u = group + kHeads * i;
      if (bc_panels * 4 % kHeads != 0 && u >= bc_panels * 4) break;
      const bool is_c = kOutput && u >= panels * 4;
      copy(u * 2048, is_c ? c_rows : b_rows, is_c ? a.c_stride : a.b_stride, u % 4 * 16,
           u / 4 % panels * 64);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
      copy((bc_panels + group) * panel_bytes + i * 2048, x_rows, a.x_stride, 16 * i, 0);
  };

  const float rate = -expf(to_float(static_cast<const bf16*>(a.a_log)[head])) * log2_e;
  const float bias = to_float(static_cast<const bf16*>(a.dt_bias)[head]);
  const float skip = to_float(static_cast<const bf16*>(a.d_skip)[head]);

  let_next_start();
  wait_for_previous();
  if (first >= last) return;

  float dt_raw[2] = {};  // of warp 0: tokens 2 lane, 2 lane + 1 of the block to come
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
    const int64_t left = a.length - static_cast<int64_t>(block) * block_length;
    float d[2], e[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      d[i] = 2 * lane + i < left ? step_size(softplus<bf16>(dt_raw[i] + bias), a) : 0;
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

#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) {
    if (first + i < last) load_stage(first + i, i);
    commit_copies();
  }
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
#pragma unroll
    for (int p = 0; p < panels; ++p)
#pragma unroll
      for (int t = 0; t < 8; t += 2) {
        const float* const v = h[p] + 4 * t;
        const uint32_t words[4] = {pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]),
                                   pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7])};
        store_tile_pair(h_at + p * panel_bytes, 16 * warp, t, words);
      }
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

  int stage = 0;
  for (int block = first; block < last; ++block) {
    wait_copies<kStages - 2>();
    fence_for_products();
    __syncthreads();
    const Steps& now = steps[block & 1];
    const uint32_t x_panel = x_at(stage);

    const float decay = exp2_fast(now.g[block_length - 1]);
#pragma unroll
    for (int p = 0; p < panels; ++p) {
#pragma unroll
      for (int i = 0; i < 32; ++i) h[p][i] *= decay;
      pin(h[p]);
    }

    // Steps 1 and 2: C B^T and C H^T.
    float s[kOutput ? 32 : 1], y[kOutput ? 32 : 1];
    if constexpr (kOutput) {
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
    }
    // While they run: the next tiles, and step 3, whose A is x^T with its columns, the tokens,
    // scaled.
    if (block + kStages - 1 < last)
      load_stage(block + kStages - 1, (stage + kStages - 1) % kStages);
    commit_copies();
    uint32_t xt[4][4];
    const auto update_state = [&] {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        load_matrix_transposed(
            xt[k], x_panel + swizzled(16 * k + lane % 8 + lane / 16 * 8, 2 * warp + lane / 8 % 2));
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const uint32_t weight = now.to_end[8 * k + 4 * i + pair];
#pragma unroll
          for (int j = 0; j < 2; ++j) xt[k][2 * i + j] = multiply_bf16(xt[k][2 * i + j], weight);
        }
      }
      begin_products();
#pragma unroll
      for (int p = 0; p < panels; ++p) add_product(h[p], xt, b_at(stage, p));
      commit_products();
    };
    // With three warpgroups the registers do not hold S, y, H and x^T at once.
    constexpr bool kUpdateFirst = !kOutput || kHeads < 3;
    if (kUpdateFirst) update_state();
    if (warp == 0 && block + 1 < last) {
      prepare_steps(block + 1);
      if (block + 2 < last) load_dt(block + 2);
    }

    if constexpr (kOutput) {
      const float g[2] = {now.g[row], now.g[row + 8]};
      const float decays[2] = {exp2_fast(g[0]), exp2_fast(g[1])};
      uint32_t m[4][4];
      wait_products<kUpdateFirst ? 2 : 1>();
      pin(s);
#pragma unroll
      for (int t = 0; t < 8; ++t) {
        uint32_t low = 0, high = 0;
        if (t <= 2 * warp + 1) {  // else all above the diagonal
          const float2 source = *reinterpret_cast<const float2*>(&now.g_source[8 * t + 2 * pair]);
          float v[4];
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            v[2 * i] = s[4 * t + 2 * i] * exp2_fast(g[i] - source.x);
            v[2 * i + 1] = s[4 * t + 2 * i + 1] * exp2_fast(g[i] - source.y);
          }
          if (t >= 2 * warp) {
            const int column = 8 * t + 2 * pair;
#pragma unroll
            for (int i = 0; i < 2; ++i) {
              if (column > row + 8 * i) v[2 * i] = 0;
              if (column + 1 > row + 8 * i) v[2 * i + 1] = 0;
            }
          }
          low = pack_bf16(v[0], v[1]);
          high = pack_bf16(v[2], v[3]);
        }
        m[t / 2][t % 2 * 2] = low;
        m[t / 2][t % 2 * 2 + 1] = high;
      }
      wait_products<kUpdateFirst ? 1 : 0>();
      pin(y);
#pragma unroll
      for (int i = 0; i < 32; ++i) y[i] *= decays[i % 4 / 2];
      pin(y);
      begin_products();
      add_product(y, m, x_panel);
      commit_products();
      if (!kUpdateFirst) update_state();
      wait_products<0>();
      pin(y);
#pragma unroll
      for (int p = 0; p < panels; ++p) pin(h[p]);
      warpgroup_barrier(group);  // x and the published state have been read by all
      // y takes the place of x, each element by the thread that holds it, and leaves in whole rows.
#pragma unroll
      for (int t = 0; t < 8; t += 2) {
        uint32_t words[4];
        load_matrix(words, tile_pair_address(x_panel, 16 * warp, t));
#pragma unroll
        for (int i = 0; i < 4; ++i)
          words[i] = pack_bf16(fmaf(skip, low_half(words[i]), y[4 * t + 2 * i]),
                               fmaf(skip, high_half(words[i]), y[4 * t + 2 * i + 1]));
        store_tile_pair(x_panel, 16 * warp, t, words);
      }
      if (block + 1 < last) publish_state();
      __syncwarp();
      const int64_t t0 = static_cast<int64_t>(block) * block_length;
      const int r = 16 * warp + lane / 8, piece = lane % 8;
      bf16* const out =
          static_cast<bf16*>(a.out) + (row0 + t0 + r) * a.out_stride + unit * 64 + piece * 8;
      const unsigned char* const y_base = base + (x_panel - shared0);
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (t0 + r + 4 * i < a.length)
          *reinterpret_cast<uint4*>(out + 4 * i * a.out_stride) =
              *reinterpret_cast<const uint4*>(y_base + swizzled(r + 4 * i, piece));
    } else {
      wait_products<0>();
#pragma unroll
      for (int p = 0; p < panels; ++p) pin(h[p]);
    }
    stage = stage + 1 == kStages ? 0 : stage + 1;
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
  // The state was written by an earlier step, and the position by the kernel that begins this one
  // (select.cu): neither needs the wait.
  float* const state = a.state + ((batch * a.heads + head) * a.head_dim + p0) * a.state_size;
  const int rows = min(kRows, a.head_dim - p0);
  const bool carried = a.past_ptr != nullptr && *a.past_ptr != 0;
  float h[kRows][kPerLane];
#pragma unroll
  for (int r = 0; r < kRows; ++r)
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int n = lane + 32 * i;
      h[r][i] = carried && r < rows && n < a.state_size ? state[r * a.state_size + n] : 0;
    }
  let_next_start();
  wait_for_previous();

  const int64_t row0 = batch * a.length;
  const int n_group = head / (a.heads / a.groups) * a.state_size;
  const T* const x =
      static_cast<const T*>(a.x) + row0 * a.x_stride + static_cast<int64_t>(head) * a.head_dim + p0;
  const T* const dt = static_cast<const T*>(a.dt) + row0 * a.dt_stride + head;
  const T* const b = static_cast<const T*>(a.b) + row0 * a.b_stride + n_group;
  const T* const c = static_cast<const T*>(a.c) + row0 * a.c_stride + n_group;
  const T* const z = a.z ? static_cast<const T*>(a.z) + row0 * a.z_stride +
                               static_cast<int64_t>(head) * a.head_dim + p0
                         : nullptr;
  T* const out =
      static_cast<T*>(a.out) + row0 * a.out_stride + static_cast<int64_t>(head) * a.head_dim + p0;

  // What the first tokens need is asked for before anything is waited for.
  T dt_raw, x_raw[kRows];  // a token per lane
  const auto load_tokens = [&](int64_t t) {
    const int64_t in = min(t, a.length - 1);
    dt_raw = dt[in * a.dt_stride];
#pragma unroll
    for (int r = 0; r < kRows; ++r) x_raw[r] = x[in * a.x_stride + min(r, rows - 1)];
  };
  T b_raw[kPerLane], c_raw[kPerLane];
  const auto load_bc = [&](int64_t t) {
    const int64_t in = min(t, a.length - 1);
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int n = min(lane + 32 * i, a.state_size - 1);
      b_raw[i] = b[in * a.b_stride + n];
      c_raw[i] = c[in * a.c_stride + n];
    }
  };
  load_tokens(lane);
  load_bc(0);

  for (int64_t t0 = 0; t0 < a.length; t0 += 32) {
    const float d = step_size(softplus<T>(to_float(dt_raw) + bias), a);
    const float decay_mine = exp2_fast(d * rate);
    float x_mine[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) x_mine[r] = to_float(x_raw[r]);
    if (t0 + 32 < a.length) load_tokens(t0 + 32 + lane);

    const int count = static_cast<int>(min(int64_t{32}, a.length - t0));
    for (int j = 0; j < count; ++j) {
      float b_now[kPerLane], c_now[kPerLane];
#pragma unroll
      for (int i = 0; i < kPerLane; ++i) {
        const bool in = lane + 32 * i < a.state_size;
        b_now[i] = in ? to_float(b_raw[i]) : 0;
        c_now[i] = in ? to_float(c_raw[i]) : 0;
      }
      if (t0 + j + 1 < a.length) load_bc(t0 + j + 1);
      // Lane 8 r stores row r.
      const float gate = z ? to_float(z[(t0 + j) * a.z_stride + min(lane / 8, rows - 1)]) : 0;
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
      float y = fmaf(skip, x_of_row, s);
      if (z) y = to_float(from_float<T>(y)) * silu(gate);
      if (lane % 8 == 0 && lane / 8 < rows)
        out[(t0 + j) * a.out_stride + lane / 8] = from_float<T>(y);
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

int block_count(const SsdArgs& a) {
  return static_cast<int>((a.length + block_length - 1) / block_length);
}

template <int kState, int kHeads>
void launch_blocks(const SsdArgs& a, const SsdChoice& choice, void* workspace, const Queue& queue) {
  const int units = a.heads * (a.head_dim / 64), blocks = block_count(a);
  Segments s;
  s.blocks_each = (blocks + choice.segments - 1) / choice.segments;
  s.count = (blocks + s.blocks_each - 1) / s.blocks_each;  // none is empty
  s.states = static_cast<float*>(workspace);
  s.decays = s.states + a.batch * s.count * units * int64_t{64} * kState;
  const auto run = [&](auto kernel, int heads, bool output, const char* what) {
    const int shared = shared_bytes(kState, heads, output);
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared), what);
    const dim3 grid(static_cast<unsigned>(output ? s.count : s.count - 1),
                    static_cast<unsigned>(units / heads), static_cast<unsigned>(a.batch));
    launch_kernel(kernel, grid, dim3(static_cast<unsigned>(128 * heads)),
                  static_cast<size_t>(shared), queue, what, a, s);
  };
  if (s.count > 1) run(ssd_blocks<kState, 1, false>, 1, false, "ssd states");
  run(ssd_blocks<kState, kHeads, true>, kHeads, true, "ssd blocks");
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
  // Microseconds on an H200 at state_size 128: rounds of resident thread blocks, each of `each`
  // blocks of tokens at a pace that 1, 2, 3 heads per thread block showed, and what segments add.
  constexpr double pace_us[] = {0, 4.3, 4.95, 6.25}, start_us = 8, segment_us = 2.4;
  const int units = a.heads * (a.head_dim / 64), blocks = block_count(a);
  double best_us = std::numeric_limits<double>::infinity();
  for (int heads = a.state_size == 256 ? 1 : 3; heads >= 1; --heads) {
    const int bytes = shared_bytes(a.state_size, heads, true);
    if (units / a.groups % heads != 0 || bytes > shared_limit) continue;
    const int resident = std::min(resident_blocks(a.state_size, heads, true),
                                  (shared_limit + 1024) / (bytes + 1024));
    for (int segments = 1; segments <= std::max(1, std::min(max_segments, blocks / 2));
         ++segments) {
      const int each = (blocks + segments - 1) / segments;
      if ((blocks + each - 1) / each != segments) continue;  // the last ones would be empty
      const int64_t slots = static_cast<int64_t>(sm_count) * resident;
      const int64_t rounds = (a.batch * segments * (units / heads) + slots - 1) / slots;
      const double us =
          start_us + segment_us * segments + static_cast<double>(rounds * each) * pace_us[heads];
      if (us < best_us) best_us = us, best.heads_per_block = heads, best.segments = segments;
    }
  }
  // State 256 takes more shared memory than some GPUs give a block.
  return std::isinf(best_us) ? SsdChoice{} : best;
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
