// Selective scan of Mamba (arXiv 2312.00752, section 3.3, algorithm 2), fused with softplus, skip
// and gate. Nothing of size [L, D, N] is stored. Many positions: a task is one or two vectors of
// channels of one sequence; four of their states stay in registers while time runs, B and C are
// broadcast, so no sum crosses lanes. Few positions (decode): lanes run over the state, which is
// read and written once, in place. Limit: one exp per channel, state and position. It is 10 of the
// 13 vector operations of AVX-512, so many positions are bound by arithmetic; decode by the memory
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

constexpr int64_t time_tile = 32;   // positions
constexpr int64_t step_tile = 256;  // channels of few positions

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

// Some of the states of `vectors` vectors of channels through `count` positions: y += C h. h, rates
// [.][width], d, dx, y [count][width], b, c [count] rows of `row` floats.
struct TimeTile {
  const float* d;
  const float* dx;
  const float* b;
  const float* c;
  float* y;
  int64_t count, row;
};

template <int vectors, int states>
HWY_INLINE void scan_states(const TimeTile& tile, int64_t i, const float* rates, float* carried) {
  constexpr int64_t width = vectors * lanes;
  Vec h[states][vectors], rate[states][vectors];
#pragma GCC unroll 4
  for (int j = 0; j < states; ++j)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) {
      h[j][v] = load(carried + (i + j) * width + v * lanes);
      rate[j][v] = load(rates + (i + j) * width + v * lanes);
    }
  for (int64_t t = 0; t < tile.count; ++t) {
    const float* b = tile.b + t * tile.row + i;
    const float* c = tile.c + t * tile.row + i;
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) {
      const int64_t at = t * width + v * lanes;
      const Vec d = load(tile.d + at), dx = load(tile.dx + at);
      Vec y = load(tile.y + at);
#pragma GCC unroll 4
      for (int j = 0; j < states; ++j) {
        h[j][v] = hn::MulAdd(exp2(hn::Mul(d, rate[j][v])), h[j][v], hn::Mul(dx, all(b[j])));
        y = hn::MulAdd(all(c[j]), h[j][v], y);
      }
      store(y, tile.y + at);
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < states; ++j)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) store(h[j][v], carried + (i + j) * width + v * lanes);
}

// `vectors` vectors of channels through all positions, `time_tile` of them at a time: the step
// sizes first, then the states by fours, which stay in registers, then the gate; so positions are
// independent of one another in all but the middle. scratch: h [N][width], rates [N][width], d, dx,
// y [time_tile][width], B, C [time_tile][N padded].
template <int vectors, class T>
void scan_channels(const SelectiveScan& op, const ScanPointers<T>& p, int64_t first,
                   float* scratch) {
  constexpr int64_t width = vectors * lanes;
  const int64_t n = op.state_size, count = std::min(width, op.channels - first);
  const int64_t row = round_up(n, vector_floats);
  float* h = scratch;
  float* rates = h + n * width;
  float* d = rates + n * width;
  float* dx = d + time_tile * width;
  float* y = dx + time_tile * width;
  float* b = y + time_tile * width;
  float* c = b + time_tile * row;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t lane = 0; lane < width; ++lane) {
      const int64_t at = (first + std::min(lane, count - 1)) * n + i;
      h[i * width + lane] = op.past > 0 ? p.state[at] : 0.0F;
      rates[i * width + lane] = static_cast<float>(p.a_log[at]);
    }
  // 2^(d * A log2 e): the factor is taken out of the loop.
  for (int64_t i = 0; i < n * width; i += lanes)
    store(hn::Mul(exp(load(rates + i)), all(-log2_e)), rates + i);

  Vec bias[vectors], skip[vectors];
  for (int v = 0; v < vectors; ++v) {
    const int64_t at = first + v * lanes, left = std::max<int64_t>(0, count - v * lanes);
    bias[v] = p.dt_bias ? load_row(p.dt_bias + at, left) : hn::Zero(floats);
    skip[v] = load_row(p.d_skip + at, left);
  }
  for (int64_t begin = 0; begin < op.length; begin += time_tile) {
    const TimeTile tile{d, dx, b, c, y, std::min(time_tile, op.length - begin), row};
    for (int64_t t = 0; t < tile.count; ++t) {
      const T* dt = p.dt + (begin + t) * op.dt.stride + first;
      const T* x = p.x + (begin + t) * op.x.stride + first;
      prefetch_row(dt + rows_ahead * op.dt.stride, 1);
      prefetch_row(x + rows_ahead * op.x.stride, 1);
      if (p.z) prefetch_row(p.z + (begin + t) * op.z.stride + first, 1);
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) {
        const int64_t col = v * lanes, left = std::max<int64_t>(0, count - col);
        const Vec step = softplus(hn::Add(load_row(dt + col, left), bias[v]));
        const Vec input = load_row(x + col, left);
        store(step, d + t * width + col);
        store(hn::Mul(step, input), dx + t * width + col);
        store(hn::Mul(skip[v], input), y + t * width + col);
      }
      unpack_row(p.b + (begin + t) * op.b.stride, n, b + t * row);
      unpack_row(p.c + (begin + t) * op.c.stride, n, c + t * row);
    }
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) scan_states<vectors, 4>(tile, i, rates, h);
    for (; i < n; ++i) scan_states<vectors, 1>(tile, i, rates, h);
    for (int64_t t = 0; t < tile.count; ++t)
      for (int64_t v = 0; v < count; v += lanes) {
        Vec out = load(y + t * width + v);
        if (p.z) {
          const T* z = p.z + (begin + t) * op.z.stride + first + v;
          out = hn::Mul(out, silu_to<T>(load_row(z, count - v)));
        }
        store_row(out, p.out + (begin + t) * op.out.stride + first + v, count - v);
      }
  }
  for (int64_t i = 0; i < n; ++i)
    for (int64_t lane = 0; lane < count; ++lane)
      p.state[(first + lane) * n + i] = h[i * width + lane];
}

// What a position brings to the states of some channels: step sizes times -log2 e, and times x; B
// and C [N padded]; and where C h goes.
struct StateStep {
  const float* d;
  const float* dx;
  const float* b;
  const float* c;
  float* y;
  bool start;  // the states before are zero
};

// States i to i + left of `channels` channels. a_log, h: [channels][N]; total: C h, lane by lane.
template <int channels, class T>
HWY_INLINE void step_states(const StateStep& step, int64_t n, int64_t i, int64_t left,
                            const T* a_log, float* h, Vec* total) {
  const Vec input = load(step.b + i), output = load(step.c + i);
#pragma GCC unroll 4
  for (int k = 0; k < channels; ++k) {
    const int64_t at = k * n + i;
    const Vec rate = exp2(hn::Mul(load_row(a_log + at, left), all(log2_e)));
    const Vec decay = exp2(hn::Mul(rate, all(step.d[k])));
    const Vec old = step.start ? hn::Zero(floats) : load_row(h + at, left);
    const Vec next = hn::MulAdd(decay, old, hn::Mul(all(step.dx[k]), input));
    store_row(next, h + at, left);
    total[k] = hn::MulAdd(output, next, total[k]);
  }
}

// All states; up to four channels, whose sums are made together: y has room for four.
template <int channels, class T>
HWY_INLINE void step_group(const StateStep& step, int64_t n, const T* a_log, float* h) {
  Vec total[4];
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) total[k] = hn::Zero(floats);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) step_states<channels>(step, n, i, lanes, a_log, h, total);
  if (i < n) step_states<channels>(step, n, i, n - i, a_log, h, total);
  store_sums(total[0], total[1], total[2], total[3], step.y);
}

// Up to `step_tile` channels through few positions, lanes along the state: what is one value a
// channel first and last, in vectors that do not wait for one another. scratch: B [N], C [N]
// padded, d, d * x, y [step_tile].
template <class T>
void step_channels(const SelectiveScan& op, const ScanPointers<T>& p, int64_t first, int64_t count,
                   float* scratch) {
  const int64_t n = op.state_size, padded = round_up(n, vector_floats);
  float* b = scratch;
  float* c = b + padded;
  float* d = c + padded;
  float* dx = d + step_tile;
  float* y = dx + step_tile;
  const T* a_log = p.a_log + first * n;
  float* h = p.state + first * n;
  for (int64_t t = 0; t < op.length; ++t) {
    const T* x = p.x + t * op.x.stride + first;
    const T* dt = p.dt + t * op.dt.stride + first;
    for (int64_t i = 0; i < count; i += lanes) {
      const int64_t left = count - i;
      const Vec bias = p.dt_bias ? load_row(p.dt_bias + first + i, left) : hn::Zero(floats);
      const Vec delta = softplus(hn::Add(load_row(dt + i, left), bias));
      store(hn::Mul(delta, all(-log2_e)), d + i);
      store(hn::Mul(delta, load_row(x + i, left)), dx + i);
    }
    unpack_row(p.b + t * op.b.stride, n, b);
    unpack_row(p.c + t * op.c.stride, n, c);
    for (int64_t i = 0; i < count;) {
      const StateStep step{d + i, dx + i, b, c, y + i, op.past + t == 0};
      if (i + 4 <= count)
        step_group<4>(step, n, a_log + i * n, h + i * n), i += 4;
      else
        step_group<1>(step, n, a_log + i * n, h + i * n), i += 1;
    }
    for (int64_t i = 0; i < count; i += lanes) {
      const int64_t left = count - i;
      Vec value =
          hn::MulAdd(load_row(p.d_skip + first + i, left), load_row(x + i, left), load(y + i));
      if (p.z)
        value = hn::Mul(value, silu_to<T>(load_row(p.z + t * op.z.stride + first + i, left)));
      store_row(value, p.out + t * op.out.stride + first + i, left);
    }
  }
}

// Tasks [begin, end): 16 channels of a sequence each, whatever the vector length.
template <class T>
void channels(const SelectiveScan& op, const CpuContext& context, int64_t begin, int64_t end,
              bool few, float* scratch) {
  const int64_t blocks = divide_up(op.channels, vector_floats);
  while (begin < end) {
    const int64_t sequence = begin / blocks, last = std::min(end, (sequence + 1) * blocks);
    const auto p = resolve<T>(op, context, sequence);
    const int64_t to = std::min((last - sequence * blocks) * vector_floats, op.channels);
    int64_t first = begin % blocks * vector_floats;
    for (; few && first < to; first += step_tile)
      step_channels(op, p, first, std::min(step_tile, to - first), scratch);
    for (; first + lanes < to; first += 2 * lanes) scan_channels<2>(op, p, first, scratch);
    for (; first < to; first += lanes) scan_channels<1>(op, p, first, scratch);
    begin = last;
  }
}

int64_t scratch_floats(const SelectiveScan& op) {
  const int64_t row = round_up(op.state_size, vector_floats);
  static_assert(step_tile + 4 <= time_tile * vector_floats, "a step needs less than a scan");
  return (2 * op.state_size + 3 * time_tile) * 2 * vector_floats + 2 * time_tile * row;
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
  const bool few = few_positions(op);
  const auto share = [&](int64_t begin, int64_t end, int thread) {
    HWY_DYNAMIC_DISPATCH(selective_scan)(op, context, begin, end, few, scratch + thread * size);
  };
  if (few)
    parallel_ranges(context.threads, items, 8, share);
  else
    parallel_parts(context.threads, items, 2, share);
}

}  // namespace tidemark::cpu
#endif
