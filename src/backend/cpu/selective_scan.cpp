// Selective scan of Mamba (arXiv 2312.00752, section 3.3, algorithm 2), fused with softplus, skip
// and gate. Nothing of size [L, D, N] is stored. Many positions: a task is one vector of channels
// of one sequence; its states stay in registers while time runs, B and C are broadcast, so no sum
// crosses lanes. Few positions (decode): lanes run over the state, which is read and written once,
// in place. Limit: one exp per channel, state and position. It is 10 of the 13 vector operations of
// AVX-512 (exp2_product), so many positions are bound by arithmetic; decode is bound by the memory
// of state and rates. Threads share channels alone: sharing positions too would take a second pass
// of as many exponentials, so it could pay only beyond twice as many threads as there are vectors
// of channels (96 of Mamba-130m's, 192 threads).
#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/selective_scan.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/prefetch.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

constexpr int64_t time_tile = 32;  // positions

template <class T>
struct ScanPointers {
  const T* x;
  const T* dt;
  const T* b;
  const T* c;
  const T* z;
  const T* a_log;
  const T* d_skip;
  const T* dt_bias;
  float* state;
  T* out;
};

// At the first row of `sequence`.
template <class T>
ScanPointers<T> resolve(const SelectiveScan& op, const CpuContext& context, int64_t sequence) {
  const int64_t rows = op.batch * op.length, first = sequence * op.length;
  const int64_t channels = op.channels, n = op.state_size;
  return {context.pointer<T>(op.x, rows, channels) + first * op.x.stride,
          context.pointer<T>(op.dt, rows, channels) + first * op.dt.stride,
          context.pointer<T>(op.b, rows, n) + first * op.b.stride,
          context.pointer<T>(op.c, rows, n) + first * op.c.stride,
          op.z ? context.pointer<T>(op.z, rows, channels) + first * op.z.stride : nullptr,
          context.block<T>(op.a_log, channels * n),
          context.block<T>(op.d_skip, channels),
          op.dt_bias ? context.block<T>(op.dt_bias, channels) : nullptr,
          context.block<float>(op.state, op.batch * channels * n) + sequence * channels * n,
          context.pointer<T>(op.out, rows, channels) + first * op.out.stride};
}

// Some of the states of a vector of channels through `count` positions: y += C h. h, rates
// [.][lanes], d, dx, y [count][lanes], b, c [count] rows of `row` floats.
struct TimeTile {
  const float* d;
  const float* dx;
  const float* b;
  const float* c;
  float* y;
  int64_t count, row;
};

template <int states>
HWY_INLINE void scan_states(const TimeTile& tile, const Exp2Table& table, int64_t i,
                            const float* rates, float* carried) {
  Vec h[states], rate[states];
#pragma GCC unroll 4
  for (int j = 0; j < states; ++j) {
    h[j] = load(carried + (i + j) * lanes);
    rate[j] = load(rates + (i + j) * lanes);
  }
  for (int64_t t = 0; t < tile.count; ++t) {
    const Vec d = load(tile.d + t * lanes), dx = load(tile.dx + t * lanes);
    const float* b = tile.b + t * tile.row + i;
    const float* c = tile.c + t * tile.row + i;
    Vec y = load(tile.y + t * lanes);
#pragma GCC unroll 4
    for (int j = 0; j < states; ++j) {
      h[j] = hn::MulAdd(exp2_product(d, rate[j], table), h[j], hn::Mul(dx, all(b[j])));
      y = hn::MulAdd(all(c[j]), h[j], y);
    }
    store(y, tile.y + t * lanes);
  }
#pragma GCC unroll 4
  for (int j = 0; j < states; ++j) store(h[j], carried + (i + j) * lanes);
}

// One vector of channels through all positions, `time_tile` of them at a time: the step sizes
// first, then the states by fours, which stay in registers, then the gate; so positions are
// independent of one another in all but the middle. scratch: h [N][lanes], rates [N][lanes], d, dx,
// y [time_tile] [lanes], B, C [time_tile][N padded].
template <class T>
void scan_channels(const SelectiveScan& op, const ScanPointers<T>& p, int64_t first,
                   float* scratch) {
  const int64_t n = op.state_size, count = std::min(lanes, op.channels - first);
  const int64_t row = round_up(n, vector_floats);
  float* h = scratch;
  float* rates = h + n * lanes;
  float* d = rates + n * lanes;
  float* dx = d + time_tile * lanes;
  float* y = dx + time_tile * lanes;
  float* b = y + time_tile * lanes;
  float* c = b + time_tile * row;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const int64_t at = (first + std::min(lane, count - 1)) * n + i;
      h[i * lanes + lane] = op.past > 0 ? p.state[at] : 0.0F;
      rates[i * lanes + lane] = static_cast<float>(p.a_log[at]);
    }
  // 2^(d * A log2 e): the factor is taken out of the loop.
  for (int64_t i = 0; i < n * lanes; i += lanes)
    store(hn::Mul(exp(load(rates + i)), all(-log2_e)), rates + i);

  const Exp2Table table;
  const Vec skip = load_row(p.d_skip + first, count);
  const Vec bias = p.dt_bias ? load_row(p.dt_bias + first, count) : hn::Zero(floats);
  for (int64_t begin = 0; begin < op.length; begin += time_tile) {
    const TimeTile tile{d, dx, b, c, y, std::min(time_tile, op.length - begin), row};
    for (int64_t t = 0; t < tile.count; ++t) {
      prefetch_row(p.dt + (begin + t + rows_ahead) * op.dt.stride + first, 1);
      prefetch_row(p.x + (begin + t + rows_ahead) * op.x.stride + first, 1);
      if (p.z) prefetch_row(p.z + (begin + t) * op.z.stride + first, 1);
      const Vec step =
          softplus(hn::Add(load_row(p.dt + (begin + t) * op.dt.stride + first, count), bias));
      const Vec x = load_row(p.x + (begin + t) * op.x.stride + first, count);
      store(step, d + t * lanes);
      store(hn::Mul(step, x), dx + t * lanes);
      store(hn::Mul(skip, x), y + t * lanes);
      unpack_row(p.b + (begin + t) * op.b.stride, n, b + t * row);
      unpack_row(p.c + (begin + t) * op.c.stride, n, c + t * row);
    }
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) scan_states<4>(tile, table, i, rates, h);
    for (; i < n; ++i) scan_states<1>(tile, table, i, rates, h);
    for (int64_t t = 0; t < tile.count; ++t) {
      Vec out = load(y + t * lanes);
      if (p.z)
        out = hn::Mul(out, silu_to<T>(load_row(p.z + (begin + t) * op.z.stride + first, count)));
      store_row(out, p.out + (begin + t) * op.out.stride + first, count);
    }
  }
  for (int64_t i = 0; i < n; ++i)
    for (int64_t lane = 0; lane < count; ++lane)
      p.state[(first + lane) * n + i] = h[i * lanes + lane];
}

// The states of some channels through one position. a_log, h: [channels][N]; d: step sizes times
// -log2 e, dx: times x; b, c [N padded]; y = C h of four channels, of which `channels` count.
template <int channels, class T>
HWY_INLINE void step_states(int64_t n, bool start, const T* a_log, const float* d, const float* dx,
                            const float* b, const float* c, const Exp2Table& table, float* h,
                            float* y) {
  Vec total[4];
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) total[k] = hn::Zero(floats);
  for (int64_t i = 0; i < n; i += lanes) {
    const Vec input = load(b + i), output = load(c + i);
#pragma GCC unroll 4
    for (int k = 0; k < channels; ++k) {
      const int64_t at = k * n + i, left = n - i;
      const Vec rate = exp2_product(load_row(a_log + at, left), all(log2_e), table);
      const Vec decay = exp2_product(rate, all(d[k]), table);
      const Vec old = start ? hn::Zero(floats) : load_row(h + at, left);
      const Vec next = hn::MulAdd(decay, old, hn::Mul(all(dx[k]), input));
      store_row(next, h + at, left);
      total[k] = hn::MulAdd(output, next, total[k]);
    }
  }
  store_sums(total[0], total[1], total[2], total[3], y);
}

// Some channels through few positions, lanes along the state; by fours, whose sums over the state
// go together. scratch: B [N], C [N] padded, d, d * x, y [lanes + 3].
template <class T>
void step_channels(const SelectiveScan& op, const ScanPointers<T>& p, int64_t first,
                   float* scratch) {
  const int64_t n = op.state_size, count = std::min(lanes, op.channels - first);
  const int64_t padded = round_up(n, vector_floats);
  float* b = scratch;
  float* c = b + padded;
  float* d = c + padded;
  float* dx = d + lanes;
  float* y = dx + lanes;
  const T* a_log = p.a_log + first * n;
  float* h = p.state + first * n;
  const Exp2Table table;
  const Vec bias = p.dt_bias ? load_row(p.dt_bias + first, count) : hn::Zero(floats);
  for (int64_t t = 0; t < op.length; ++t) {
    const bool start = op.past + t == 0;
    const Vec x = load_row(p.x + t * op.x.stride + first, count);
    const Vec delta = softplus(hn::Add(load_row(p.dt + t * op.dt.stride + first, count), bias));
    store(hn::Mul(delta, all(-log2_e)), d);
    store(hn::Mul(delta, x), dx);
    unpack_row(p.b + t * op.b.stride, n, b);
    unpack_row(p.c + t * op.c.stride, n, c);
    int64_t i = 0;
    for (; i + 4 <= count; i += 4)
      step_states<4>(n, start, a_log + i * n, d + i, dx + i, b, c, table, h + i * n, y + i);
    for (; i < count; ++i)
      step_states<1>(n, start, a_log + i * n, d + i, dx + i, b, c, table, h + i * n, y + i);
    Vec value = hn::MulAdd(load_row(p.d_skip + first, count), x, load(y));
    if (p.z) value = hn::Mul(value, silu_to<T>(load_row(p.z + t * op.z.stride + first, count)));
    store_row(value, p.out + t * op.out.stride + first, count);
  }
}

// Tasks [begin, end): 16 channels of a sequence each, whatever the vector length.
template <class T>
void channels(const SelectiveScan& op, const CpuContext& context, int64_t begin, int64_t end,
              bool few, float* scratch) {
  const int64_t blocks = divide_up(op.channels, vector_floats);
  for (int64_t item = begin; item < end;) {
    const int64_t sequence = item / blocks;
    const auto p = resolve<T>(op, context, sequence);
    for (; item < std::min(end, (sequence + 1) * blocks); ++item) {
      const int64_t from = item % blocks * vector_floats;
      const int64_t to = std::min(from + vector_floats, op.channels);
      for (int64_t first = from; first < to; first += lanes)
        few ? step_channels(op, p, first, scratch) : scan_channels(op, p, first, scratch);
    }
  }
}

int64_t scratch_floats(const SelectiveScan& op) {
  const int64_t row = round_up(op.state_size, vector_floats);
  return (2 * op.state_size + 3 * time_tile) * vector_floats + 2 * time_tile * row;
}

void selective_scan(const SelectiveScan& op, const CpuContext& context, int64_t begin, int64_t end,
                    bool few, float* scratch) {
  if (context.is_f32(op.x))
    channels<float>(op, context, begin, end, few, scratch);
  else
    channels<Bf16>(op, context, begin, end, few, scratch);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {
HWY_EXPORT(selective_scan);
HWY_EXPORT(scratch_floats);

namespace {

// Turning the state to lanes of channels and back pays off from about here.
bool few_positions(const SelectiveScan& op) {
  return op.length < 8;
}

}  // namespace

int64_t workspace_bytes(const SelectiveScan& op, const CpuContext& context) {
  return context.threads * HWY_DYNAMIC_DISPATCH(scratch_floats)(op) * 4;
}

std::string_view variant(const SelectiveScan& op, const CpuContext&) {
  return few_positions(op) ? "step" : "scan";
}

void run(const SelectiveScan& op, const CpuContext& context) {
  auto* scratch = context.workspace<float>(workspace_bytes(op, context));
  const int64_t items = op.batch * divide_up(op.channels, vector_floats);
  const int64_t size = HWY_DYNAMIC_DISPATCH(scratch_floats)(op);
  parallel_ranges(context.threads, items, 8, [&](int64_t begin, int64_t end, int thread) {
    HWY_DYNAMIC_DISPATCH(selective_scan)
    (op, context, begin, end, few_positions(op), scratch + thread * size);
  });
}

}  // namespace tidemark::cpu
#endif
