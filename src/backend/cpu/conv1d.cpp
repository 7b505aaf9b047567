// Conv1d: depthwise causal convolution of Mamba (arXiv 2312.00752, section 3.4) with carried state.
// Many positions: a task is some blocks of 64 channels of one sequence, whose weights are turned to
// [K][channels]; 16 rows are taken at a time, two vectors of channels walking down them with their
// K inputs and weights in registers, so that pieces of rows as wide as the task are read and
// written soon after each other. One position of width 4 (decode): a task is a sequence, whose
// weights [C][4] and state [C][3] are taken apart in registers. Bound by arithmetic with SiLU, half
// of it the exponential's, else by memory.
#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/conv1d.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/prefetch.h"
#include "backend/cpu/row_pieces.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

constexpr int64_t block_channels = 64;
constexpr int64_t block_rows = 16;
constexpr int64_t step_ahead = 256;  // channels

int64_t scratch_floats(const Conv1d& op) {
  return 2 * op.width * round_up(op.channels, block_channels);
}

constexpr int64_t pair = 2 * lanes;  // channels

// A pair of vectors of a row of which `left` channels are left.
template <class T>
HWY_INLINE Pair load_row_pair(const T* from, int64_t left) {
  if (left >= pair) return load_pair(from);
  T whole[pair] = {};
  std::copy_n(from, left, whole);
  return load_pair(whole);
}
template <class T>
HWY_INLINE void store_row_pair(Pair value, T* to, int64_t left) {
  if (left >= pair) return store_pair(value, to);
  T whole[pair];
  store_pair(value, whole);
  std::copy_n(whole, left, to);
}

// Where channel c lies in a row of floats in the order of pairs.
template <class T>
int64_t place(int64_t c) {
  return sizeof(T) == 4 ? c : c / pair * pair + c % 2 * lanes + c % pair / 2;
}

// scratch: rows of channels as pairs: K of weights, the bias, K - 1 of the state.
// `taps`: K where it is a constant, else 0.
template <int taps, class T>
void channel_block(const Conv1d& op, const CpuContext& context, int64_t b, int64_t first,
                   int64_t channels, float* scratch) {
  const int64_t width = taps > 0 ? taps : op.width, before = width - 1;
  const int64_t row = round_up(channels, block_channels);
  const T* x = context.pointer<T>(op.x, op.batch * op.length, op.channels) +
               b * op.length * op.x.stride + first;
  T* out = context.pointer<T>(op.out, op.batch * op.length, op.channels) +
           b * op.length * op.out.stride + first;
  const T* weight = context.block<T>(op.weight, op.channels * width) + first * width;
  const T* bias = op.bias ? context.block<T>(op.bias, op.channels) + first : nullptr;
  T* state = context.block<T>(op.state, op.batch * op.channels * before) +
             (b * op.channels + first) * before;
  float* weights = scratch;
  float* biases = weights + width * row;
  float* past = biases + row;
  std::memset(scratch, 0, static_cast<size_t>(2 * width * row) * sizeof(float));
  for (int64_t c = 0; c < channels; ++c) {
    float* at = scratch + place<T>(c);
    for (int64_t k = 0; k < width; ++k) at[k * row] = static_cast<float>(weight[c * width + k]);
    if (bias) at[width * row] = static_cast<float>(bias[c]);
    for (int64_t k = 0; op.past > 0 && k < before; ++k)
      at[(width + 1 + k) * row] = static_cast<float>(state[c * before + k]);
  }

  // Rows [begin, end) of the `left` channels at c, at most two vectors.
  const auto rows = [&](int64_t begin, int64_t end, int64_t c, auto left) {
    const auto floats_at = [&](const float* from) {
      return Pair{load(from + c), load(from + c + lanes)};
    };
    const auto input = [&](int64_t t) {
      return t < 0 ? floats_at(past + (t + before) * row)
                   : load_row_pair(x + t * op.x.stride + c, left);
    };
    constexpr int kept = taps > 0 ? taps : 1;
    Vec window[kept][2], by[kept][2];  // no array of Pair: GCC makes its constructor without NEON
    const auto keep = [](const Pair& pair, Vec(&to)[2]) {
      to[0] = pair.first, to[1] = pair.second;
    };
    for (int k = 0; k < taps; ++k) keep(floats_at(weights + k * row), by[k]);
    for (int k = 1; k < taps; ++k) keep(input(begin - taps + k), window[k]);
    const Pair start = floats_at(biases);
    for (int64_t t = begin; t < end; ++t) {
      prefetch_row(x + (t + rows_ahead) * op.x.stride + c, pair);
      Pair y = start;
      const auto add = [&](const Pair& in, const Pair& w) {
        y = {hn::MulAdd(in.first, w.first, y.first), hn::MulAdd(in.second, w.second, y.second)};
      };
      if constexpr (taps > 0) {
        for (int k = 1; k < taps; ++k) keep({window[k][0], window[k][1]}, window[k - 1]);
        keep(load_row_pair(x + t * op.x.stride + c, left), window[taps - 1]);
        for (int k = 0; k < taps; ++k) add({window[k][0], window[k][1]}, {by[k][0], by[k][1]});
      } else {
        for (int64_t k = 0; k < width; ++k)
          add(input(t - before + k), floats_at(weights + k * row));
      }
      if (op.silu) y = {silu_to<T>(y.first), silu_to<T>(y.second)};
      store_row_pair(y, out + t * op.out.stride + c, left);
    }
  };
  for (int64_t t = 0; t < op.length; t += block_rows) {
    const int64_t end = std::min(t + block_rows, op.length);
    int64_t c = 0;
    for (; c + pair <= channels; c += pair)
      rows(t, end, c, std::integral_constant<int64_t, pair>());
    if (c < channels) rows(t, end, c, channels - c);
  }
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t k = 0; k < before; ++k) {
      const int64_t t = op.length - before + k;  // of the input that is then the k-th oldest
      state[c * before + k] =
          t < 0 ? static_cast<T>(past[(t + before) * row + place<T>(c)]) : x[t * op.x.stride + c];
    }
}

// One position of `lanes` channels, in elements as they lie in memory.
template <class T, class Tag, class Element = hn::TFromD<Tag>>
HWY_INLINE void step_vector(Tag tag, const Conv1d& op, const Element* x, const Element* weight,
                            Vec bias, Element* state, T* out) {
  hn::Vec<Tag> w0, w1, w2, w3, x0 = hn::Zero(tag), x1 = x0, x2 = x0;
  hn::LoadInterleaved4(tag, weight, w0, w1, w2, w3);
  if (op.past > 0) hn::LoadInterleaved3(tag, state, x0, x1, x2);
  const auto x3 = hn::LoadU(tag, x);
  hn::StoreInterleaved3(x1, x2, x3, tag, state);
  const Vec early =
      hn::MulAdd(to_floats(x1), to_floats(w1), hn::MulAdd(to_floats(x0), to_floats(w0), bias));
  const Vec y =
      hn::MulAdd(to_floats(x3), to_floats(w3), hn::MulAdd(to_floats(x2), to_floats(w2), early));
  store(op.silu ? silu_to<T>(y) : y, out);
}

// The same of all channels of a sequence; those that fill no vector are copied into one.
template <class T, class Tag>
void step_channels(Tag tag, const Conv1d& op, const CpuContext& context, int64_t sequence) {
  using Element = hn::TFromD<Tag>;
  const auto* x = reinterpret_cast<const Element*>(context.pointer<T>(op.x, op.batch, op.channels) +
                                                   sequence * op.x.stride);
  const auto* weight =
      reinterpret_cast<const Element*>(context.block<T>(op.weight, op.channels * 4));
  auto* state = reinterpret_cast<Element*>(context.block<T>(op.state, op.batch * op.channels * 3) +
                                           sequence * op.channels * 3);
  const T* bias = op.bias ? context.block<T>(op.bias, op.channels) : nullptr;
  T* out = context.pointer<T>(op.out, op.batch, op.channels) + sequence * op.out.stride;
  const int64_t whole = op.channels / lanes * lanes, left = op.channels - whole;
  for (int64_t c = 0; c < whole; c += lanes) {
    prefetch_row(weight + 4 * (c + step_ahead), 4 * lanes);
    prefetch_row(state + 3 * (c + step_ahead), 3 * lanes);
    step_vector(tag, op, x + c, weight + 4 * c, bias ? load(bias + c) : hn::Zero(floats),
                state + 3 * c, out + c);
  }
  if (left == 0) return;
  Element last_x[lanes] = {}, last_weight[4 * lanes] = {}, last_state[3 * lanes] = {};
  T last_out[lanes];
  std::copy_n(x + whole, left, last_x);
  std::copy_n(weight + 4 * whole, 4 * left, last_weight);
  std::copy_n(state + 3 * whole, 3 * left, last_state);
  step_vector(tag, op, last_x, last_weight, bias ? load_some(bias + whole, left) : hn::Zero(floats),
              last_state, last_out);
  std::copy_n(last_state, 3 * left, state + 3 * whole);
  std::copy_n(last_out, left, out + whole);
}

void step(const Conv1d& op, const CpuContext& context, int64_t sequence) {
  if (context.is_f32(op.x))
    step_channels<float>(floats, op, context, sequence);
  else
    step_channels<Bf16>(HalfTag(), op, context, sequence);
}

template <class T>
void any_width(const Conv1d& op, const CpuContext& context, int64_t b, int64_t first,
               int64_t channels, float* scratch) {
  if (op.width == 4)
    channel_block<4, T>(op, context, b, first, channels, scratch);
  else
    channel_block<0, T>(op, context, b, first, channels, scratch);
}

// Blocks [begin, end) of all sequences' channels.
void conv1d(const Conv1d& op, const CpuContext& context, int64_t begin, int64_t end,
            float* scratch) {
  for_row_pieces(begin, end, divide_up(op.channels, block_channels),
                 [&](int64_t b, int64_t block, int64_t blocks) {
                   const int64_t first = block * block_channels;
                   const int64_t channels = std::min(blocks * block_channels, op.channels - first);
                   if (context.is_f32(op.x))
                     any_width<float>(op, context, b, first, channels, scratch);
                   else
                     any_width<Bf16>(op, context, b, first, channels, scratch);
                 });
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {
HWY_EXPORT(conv1d);
HWY_EXPORT(step);
HWY_EXPORT(scratch_floats);

namespace {

bool is_step(const Conv1d& op) {
  return op.length == 1 && op.width == 4;
}

}  // namespace

int64_t workspace_bytes(const Conv1d& op, const CpuContext& context) {
  if (is_step(op)) return 0;
  return context.threads * HWY_DYNAMIC_DISPATCH(scratch_floats)(op) * 4;
}

std::string_view variant(const Conv1d& op, const CpuContext&) {
  return is_step(op) ? "step" : "rows";
}

void run(const Conv1d& op, const CpuContext& context) {
  if (is_step(op))
    return parallel_ranges(context.threads, op.batch, divide_up(8192, op.channels),
                           [&](int64_t begin, int64_t end, int) {
                             for (int64_t b = begin; b < end; ++b)
                               HWY_DYNAMIC_DISPATCH(step)(op, context, b);
                           });
  auto* scratch = context.workspace<float>(workspace_bytes(op, context));
  const int64_t items = op.batch * divide_up(op.channels, 64);
  const int64_t grain = 1 + 512 / op.length, size = HWY_DYNAMIC_DISPATCH(scratch_floats)(op);
  parallel_ranges(context.threads, items, grain, [&](int64_t begin, int64_t end, int thread) {
    HWY_DYNAMIC_DISPATCH(conv1d)(op, context, begin, end, scratch + thread * size);
  });
}

}  // namespace tidemark::cpu
#endif
