// Attention of one position (decode): the cache is streamed once, in splits of the context when
// sequences and groups alone cannot occupy the threads (Flash-Decoding); 4 keys x up to 4 heads of
// the group share each load. Limit: the memory of the cache.
#include "backend/cpu/attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention_decode.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/attention-inl.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

// scores[h][j] for `heads` query rows and `count` keys; q is fp32, padded with zeros.
template <int heads, class T>
HWY_INLINE void key_scores(const float* q, int64_t q_stride, const T* k, int64_t k_stride,
                           int64_t count, int64_t width, float* scores) {
  const int64_t whole = width / lanes * lanes;
  for (int64_t j = 0; j < count; j += 4) {
    const T* key[4];
    for (int64_t i = 0; i < 4; ++i) key[i] = k + std::min(j + i, count - 1) * k_stride;
    Vec sum[heads][4];
#pragma GCC unroll 4
    for (int h = 0; h < heads; ++h)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) sum[h][i] = hn::Zero(floats);
    for (int64_t d = 0; d < whole; d += lanes) {
      Vec right[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) right[i] = load(key[i] + d);
#pragma GCC unroll 4
      for (int h = 0; h < heads; ++h) {
        const Vec left = load(q + h * q_stride + d);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) sum[h][i] = hn::MulAdd(left, right[i], sum[h][i]);
      }
    }
    if (whole < width) {
      Vec right[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) right[i] = load_some(key[i] + whole, width - whole);
#pragma GCC unroll 4
      for (int h = 0; h < heads; ++h) {
        const Vec left = load(q + h * q_stride + whole);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) sum[h][i] = hn::MulAdd(left, right[i], sum[h][i]);
      }
    }
#pragma GCC unroll 4
    for (int h = 0; h < heads; ++h)
      store_sums(sum[h][0], sum[h][1], sum[h][2], sum[h][3], scores + h * key_block + j);
  }
}

// out[h] += probabilities[h][j] * v[j]
template <int heads, class T>
HWY_INLINE void weigh_values(const float* probabilities, const T* v, int64_t v_stride,
                             int64_t count, int64_t width, float* out, int64_t out_stride) {
  for (int64_t d = 0; d < width; d += 2 * lanes) {
    const int64_t left = width - d;
    Vec sum[heads][2];
#pragma GCC unroll 4
    for (int h = 0; h < heads; ++h) {
      sum[h][0] = load(out + h * out_stride + d);
      sum[h][1] = load(out + h * out_stride + d + lanes);
    }
    for (int64_t j = 0; j < count; ++j) {
      const T* row = v + j * v_stride + d;
      const Vec v0 = load_row(row, left);
      const Vec v1 = left > lanes ? load_row(row + lanes, left - lanes) : hn::Zero(floats);
#pragma GCC unroll 4
      for (int h = 0; h < heads; ++h) {
        const Vec p = all(probabilities[h * key_block + j]);
        sum[h][0] = hn::MulAdd(p, v0, sum[h][0]);
        sum[h][1] = hn::MulAdd(p, v1, sum[h][1]);
      }
    }
#pragma GCC unroll 4
    for (int h = 0; h < heads; ++h) {
      store(sum[h][0], out + h * out_stride + d);
      store(sum[h][1], out + h * out_stride + d + lanes);
    }
  }
}

// A split's result of one query head: largest score, total, then the weighted values unnormalised.
// scratch: q [group][P], scores [group][key_block].
template <class T>
void decode_split(const Attention& op, const CpuContext& context, const DecodeSplits& tiles,
                  int64_t item, float* partial, float* scratch) {
  const int64_t split = item % tiles.splits, pair = item / tiles.splits, group = tiles.group;
  const auto p = resolve<T>(op, context, pair / op.kv_heads, pair % op.kv_heads);
  const int64_t q_stride = round_up(op.head_dim, vector_floats);
  const int64_t out_stride = round_up(op.value_dim, 2 * vector_floats) + vector_floats;
  float* q = scratch;
  float* scores = q + group * q_stride;
  float* result = partial + item * group * out_stride;
  for (int64_t h = 0; h < group; ++h) {
    unpack_row(p.q + h * op.head_dim, op.head_dim, q + h * q_stride);
    for (int64_t i = 0; i < q_stride; i += lanes)
      store(hn::Mul(load(q + h * q_stride + i), all(op.scale * log2_e)), q + h * q_stride + i);
    std::fill(result + h * out_stride, result + (h + 1) * out_stride, 0.0F);
    result[h * out_stride] = hidden;
  }
  // What is seen, counted through: the sinks before the window, then the window.
  const int64_t from = first_key(op, op.past), sinks = std::min(op.sinks, from);
  const int64_t keys = sinks + op.past + 1 - from;
  const int64_t blocks = divide_up(keys, key_block);
  int64_t next = blocks * split / tiles.splits * key_block;
  const int64_t end = std::min(keys, blocks * (split + 1) / tiles.splits * key_block);
  while (next < end) {
    const int64_t key = next < sinks ? next : from + next - sinks;
    const int64_t most = std::min(key_block, (next < sinks ? std::min(sinks, end) : end) - next);
    const KeyRun<T> run = run_of_keys(op, p, key, most);
    int64_t h = 0;
    for (; h + 4 <= group; h += 4)
      key_scores<4>(q + h * q_stride, q_stride, run.k, run.k_stride, run.count, op.head_dim,
                    scores + h * key_block);
    for (; h + 2 <= group; h += 2)
      key_scores<2>(q + h * q_stride, q_stride, run.k, run.k_stride, run.count, op.head_dim,
                    scores + h * key_block);
    if (h < group)
      key_scores<1>(q + h * q_stride, q_stride, run.k, run.k_stride, run.count, op.head_dim,
                    scores + h * key_block);
    for (h = 0; h < group; ++h) {
      float* row = scores + h * key_block;
      float* head = result + h * out_stride;
      std::fill(row + run.count, row + key_block, hidden);
      Vec largest = all(head[0]);
      for (int64_t j = 0; j < key_block; j += lanes) largest = hn::Max(largest, load(row + j));
      const float peak = max(largest);
      Vec total = hn::Zero(floats);
      for (int64_t j = 0; j < key_block; j += lanes) {
        const Vec probability = exp2(hn::Sub(load(row + j), all(peak)));
        store(probability, row + j);
        total = hn::Add(total, probability);
      }
      if (peak != head[0]) {
        const Vec shrink = exp2(all(head[0] - peak));
        for (int64_t j = vector_floats; j < out_stride; j += lanes)
          store(hn::Mul(load(head + j), shrink), head + j);
        head[1] *= hn::GetLane(shrink);
        head[0] = peak;
      }
      head[1] += sum(total);
    }
    float* out = result + vector_floats;
    for (h = 0; h + 4 <= group; h += 4)
      weigh_values<4>(scores + h * key_block, run.v, run.v_stride, run.count, op.value_dim,
                      out + h * out_stride, out_stride);
    for (; h + 2 <= group; h += 2)
      weigh_values<2>(scores + h * key_block, run.v, run.v_stride, run.count, op.value_dim,
                      out + h * out_stride, out_stride);
    if (h < group)
      weigh_values<1>(scores + h * key_block, run.v, run.v_stride, run.count, op.value_dim,
                      out + h * out_stride, out_stride);
    next += run.count;
  }
}

void attention_split(const Attention& op, const CpuContext& context, const DecodeSplits& tiles,
                     int64_t item, float* partial, float* scratch) {
  if (context.is_f32(op.q))
    decode_split<float>(op, context, tiles, item, partial, scratch);
  else
    decode_split<Bf16>(op, context, tiles, item, partial, scratch);
}

template <class T>
void merge_splits(const Attention& op, const CpuContext& context, const DecodeSplits& tiles,
                  int64_t pair, const float* partial) {
  const auto p = resolve<T>(op, context, pair / op.kv_heads, pair % op.kv_heads);
  const int64_t out_stride = round_up(op.value_dim, 2 * vector_floats) + vector_floats;
  const int64_t split_stride = tiles.group * out_stride;
  for (int64_t h = 0; h < tiles.group; ++h) {
    const float* first = partial + pair * tiles.splits * split_stride + h * out_stride;
    float largest = hidden, total = 0;
    for (int64_t s = 0; s < tiles.splits; ++s) largest = std::max(largest, first[s * split_stride]);
    for (int64_t s = 0; s < tiles.splits; ++s)
      total += first[s * split_stride + 1] * std::exp2(first[s * split_stride] - largest);
    for (int64_t j = 0; j < op.value_dim; j += lanes) {
      Vec sum = hn::Zero(floats);
      for (int64_t s = 0; s < tiles.splits; ++s) {
        const float* split = first + s * split_stride;
        sum = hn::MulAdd(load(split + vector_floats + j), all(std::exp2(split[0] - largest)), sum);
      }
      store_row(hn::Mul(sum, all(1.0F / total)), p.out + h * op.value_dim + j, op.value_dim - j);
    }
  }
}

void attention_merge(const Attention& op, const CpuContext& context, const DecodeSplits& tiles,
                     int64_t pair, const float* partial) {
  if (context.is_f32(op.q))
    merge_splits<float>(op, context, tiles, pair, partial);
  else
    merge_splits<Bf16>(op, context, tiles, pair, partial);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {

HWY_EXPORT(attention_split);
HWY_EXPORT(attention_merge);

namespace {

DecodeSplits splits_of(const Attention& op, int threads) {
  const int64_t pairs = op.batch * op.kv_heads;
  return {.group = op.heads / op.kv_heads,
          .splits = pairs % threads == 0 ? 1 : divide_up(2 * threads, pairs)};
}

int64_t partial_floats(const Attention& op, const DecodeSplits& tiles) {
  return op.batch * op.kv_heads * tiles.splits * tiles.group *
         (round_up(op.value_dim, 2 * vector_floats) + vector_floats);
}

int64_t split_floats(const Attention& op, const DecodeSplits& tiles) {
  return tiles.group * (round_up(op.head_dim, vector_floats) + key_block);
}

}  // namespace

int64_t decode_attention_bytes(const Attention& op, const CpuContext& context) {
  const DecodeSplits tiles = splits_of(op, context.threads);
  return (partial_floats(op, tiles) + context.threads * split_floats(op, tiles)) * 4;
}

void run_decode_attention(const Attention& op, const CpuContext& context) {
  const DecodeSplits tiles = splits_of(op, context.threads);
  auto* scratch = context.workspace<float>(decode_attention_bytes(op, context));
  float* own = scratch + partial_floats(op, tiles);
  const int64_t pairs = op.batch * op.kv_heads, size = split_floats(op, tiles);
  parallel_ranges(context.threads, pairs * tiles.splits, 1,
                  [&](int64_t begin, int64_t end, int thread) {
                    for (int64_t item = begin; item < end; ++item)
                      HWY_DYNAMIC_DISPATCH(attention_split)
                    (op, context, tiles, item, scratch, own + thread * size);
                  });
  parallel_ranges(context.threads, pairs, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t pair = begin; pair < end; ++pair)
      HWY_DYNAMIC_DISPATCH(attention_merge)(op, context, tiles, pair, scratch);
  });
}

}  // namespace tidemark::cpu
#endif
