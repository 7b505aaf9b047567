// Attention of one position (decode): the cache is streamed once, in splits of the context when
// sequences and groups alone cannot occupy the threads (Flash-Decoding); 4 keys x up to 4 heads of
// the group share each load. More heads in bf16, for which fp32 takes up to twice the time of
// reading their cache, go through dot products of bf16 (attention_dot.h) or a unit that wants keys
// and values laid out for it. Limit: the memory of the cache.
#include "backend/cpu/attention.h"
#include "backend/cpu/attention_dot.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention_decode.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/attention-inl.h"
#include "backend/cpu/bf16-inl.h"
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

// The same in bf16: S = Q K^T and O += P V with the group's heads as rows.
struct Bf16Scratch {
  Bf16* q;        // [group][P]
  uint32_t* k;    // [P / 2][bf16_keys], pairs along the depth
  float* scores;  // [group][bf16_keys]
  Bf16* p;        // [group][bf16_keys]
  uint32_t* v;    // [bf16_keys / 2][Pv], pairs of keys
  float* out;     // [group][Pv]
};

struct Bf16Sizes {
  int64_t rows, p, pv;  // padded
  explicit Bf16Sizes(const Attention& op)
      : rows(round_up(op.heads / op.kv_heads, product_rows)),
        p(round_up(op.head_dim, product_depth)),
        pv(round_up(op.value_dim, product_depth)) {}
};

// Every part is a multiple of 64 bytes.
int64_t carve(const Bf16Sizes& s, std::byte* base, Bf16Scratch* r) {
  int64_t used = 0;
  const auto take = [&](auto*& part, int64_t count) {
    part = reinterpret_cast<std::remove_reference_t<decltype(part)>>(base + used);
    used += count * static_cast<int64_t>(sizeof(*part));
  };
  take(r->q, s.rows * s.p);
  take(r->k, s.p / 2 * bf16_keys);
  take(r->scores, s.rows * bf16_keys);
  take(r->p, s.rows * bf16_keys);
  take(r->v, bf16_keys / 2 * s.pv);
  take(r->out, s.rows * s.pv);
  return used;
}

int64_t bf16_split_bytes(const Attention& op) {
  Bf16Scratch unused;
  return carve(Bf16Sizes(op), nullptr, &unused);
}

// Takes `count` new scores of a head into its running softmax: probabilities to p, zero up to a
// multiple of 32. head: largest score, scaled, and total.
void head_softmax(float* scores, int64_t count, float scale, Bf16* p, float* head, float* out,
                  int64_t pv) {
  const int64_t padded = round_up(count, product_depth);
  std::fill(scores + count, scores + padded, hidden);
  Vec largest = load(scores);
  for (int64_t j = lanes; j < padded; j += lanes) largest = hn::Max(largest, load(scores + j));
  const float before = head[0], peak = std::max(before, max(largest) * scale);
  Vec total = hn::Zero(floats);
  for (int64_t j = 0; j < padded; j += lanes) {
    const Vec probability = exp2_to_bf16(hn::MulSub(load(scores + j), all(scale), all(peak)));
    store(probability, p + j);
    total = hn::Add(total, probability);
  }
  if (peak != before) {
    const Vec shrink = exp2(all(before - peak));
    for (int64_t j = 0; j < pv; j += lanes) store(hn::Mul(load(out + j), shrink), out + j);
    head[0] = peak;
    head[1] *= hn::GetLane(shrink);
  }
  head[1] += sum(total);
}

void score_on_unit(const Attention& op, const CpuContext& context, const Bf16Sizes& s,
                   const Bf16Scratch& r, const KeyRun<Bf16>& run) {
  const int64_t padded = round_up(run.count, product_depth);
  pair_columns([&](int64_t i) { return run.k + i * run.k_stride; }, run.count, op.head_dim, r.k,
               bf16_keys, padded);
  context.bf16->multiply({.a = r.q,
                          .a_row = s.p,
                          .b = reinterpret_cast<const Bf16*>(r.k),
                          .b_row = 2 * bf16_keys,
                          .c = r.scores,
                          .c_row = bf16_keys,
                          .rows = op.heads / op.kv_heads,
                          .cols = padded,
                          .depth = s.p,
                          .accumulate = false});
}

void weigh_on_unit(const Attention& op, const CpuContext& context, const Bf16Sizes& s,
                   const Bf16Scratch& r, const KeyRun<Bf16>& run) {
  const int64_t padded = round_up(run.count, product_depth);
  for (int64_t j = 0; j < padded; j += 2) {
    const Bf16* low = j < run.count ? run.v + j * run.v_stride : nullptr;
    const Bf16* high = j + 1 < run.count ? run.v + (j + 1) * run.v_stride : nullptr;
    for (int64_t i = 0; i < op.value_dim; i += lanes) {
      if (low) prefetch_ahead(low + i);
      if (high) prefetch_ahead(high + i);
      store_words(pair_rows(low ? low + i : nullptr, high ? high + i : nullptr, op.value_dim - i),
                  r.v + j / 2 * s.pv + i);
    }
  }
  context.bf16->multiply({.a = r.p,
                          .a_row = bf16_keys,
                          .b = reinterpret_cast<const Bf16*>(r.v),
                          .b_row = 2 * s.pv,
                          .c = r.out,
                          .c_row = s.pv,
                          .rows = op.heads / op.kv_heads,
                          .cols = s.pv,
                          .depth = padded,
                          .accumulate = true});
}

void bf16_split(const Attention& op, const CpuContext& context, const DecodeSplits& tiles,
                int64_t item, float* partial, std::byte* scratch) {
  const int64_t split = item % tiles.splits, pair = item / tiles.splits, group = tiles.group;
  const auto p = resolve<Bf16>(op, context, pair / op.kv_heads, pair % op.kv_heads);
  const int64_t out_stride = round_up(op.value_dim, 2 * vector_floats) + vector_floats;
  float* result = partial + item * group * out_stride;
  const Bf16Sizes s(op);
  Bf16Scratch r{};
  carve(s, scratch, &r);
  copy_rows([&](int64_t h) { return p.q + h * op.head_dim; }, group, op.head_dim, r.q);
  std::fill(r.out, r.out + s.rows * s.pv, 0.0F);
  for (int64_t h = 0; h < group; ++h)
    result[h * out_stride] = hidden, result[h * out_stride + 1] = 0;
  const int64_t from = first_key(op, op.past), sinks = std::min(op.sinks, from);
  const int64_t keys = sinks + op.past + 1 - from, blocks = divide_up(keys, bf16_keys);
  int64_t next = blocks * split / tiles.splits * bf16_keys;
  const int64_t end = std::min(keys, blocks * (split + 1) / tiles.splits * bf16_keys);
  context.bf16->begin();
  while (next < end) {
    const int64_t key = next < sinks ? next : from + next - sinks;
    const int64_t most = std::min(bf16_keys, (next < sinks ? std::min(sinks, end) : end) - next);
    const KeyRun<Bf16> run = run_of_keys(op, p, key, most);
    if (context.bf16->dots)
      dot_scores(r.q, s.p, group, run.k, run.k_stride, run.count, op.head_dim, r.scores, bf16_keys);
    else
      score_on_unit(op, context, s, r, run);
    for (int64_t h = 0; h < group; ++h)
      head_softmax(r.scores + h * bf16_keys, run.count, op.scale * log2_e, r.p + h * bf16_keys,
                   result + h * out_stride, r.out + h * s.pv, s.pv);
    if (context.bf16->dots)
      dot_values(r.p, bf16_keys, group, run.v, run.v_stride, run.count, op.value_dim, r.out, s.pv);
    else
      weigh_on_unit(op, context, s, r, run);
    next += run.count;
  }
  context.bf16->end();
  for (int64_t h = 0; h < group; ++h)
    std::memcpy(result + h * out_stride + vector_floats, r.out + h * s.pv,
                static_cast<size_t>(op.value_dim) * sizeof(float));
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
HWY_EXPORT(bf16_split);
HWY_EXPORT(bf16_split_bytes);
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

// From five heads on what they share pays for laying keys and values out, and from three on for the
// padding of dot products, which want nothing laid out.
bool on_bf16_unit(const Attention& op, const CpuContext& context) {
  if (!context.bf16 || context.is_f32(op.q)) return false;
  return op.heads >= (context.bf16->dots ? 3 : 5) * op.kv_heads;
}

// Scratch of a thread.
int64_t split_bytes(const Attention& op, const CpuContext& context) {
  if (on_bf16_unit(op, context)) return HWY_DYNAMIC_DISPATCH(bf16_split_bytes)(op);
  return op.heads / op.kv_heads * (round_up(op.head_dim, vector_floats) + key_block) * 4;
}

}  // namespace

std::string_view decode_variant(const Attention& op, const CpuContext& context) {
  return on_bf16_unit(op, context) ? context.bf16->name : "split decode";
}

int64_t decode_attention_bytes(const Attention& op, const CpuContext& context) {
  const DecodeSplits tiles = splits_of(op, context.threads);
  return partial_floats(op, tiles) * 4 + context.threads * split_bytes(op, context);
}

void run_decode_attention(const Attention& op, const CpuContext& context) {
  const DecodeSplits tiles = splits_of(op, context.threads);
  auto* partial = context.workspace<float>(decode_attention_bytes(op, context));
  auto* own = reinterpret_cast<std::byte*>(partial + partial_floats(op, tiles));
  const int64_t pairs = op.batch * op.kv_heads, size = split_bytes(op, context);
  const bool bf16 = on_bf16_unit(op, context);
  parallel_ranges(
      context.threads, pairs * tiles.splits, 1, [&](int64_t begin, int64_t end, int thread) {
        for (int64_t item = begin; item < end; ++item) {
          std::byte* scratch = own + thread * size;
          if (bf16)
            HWY_DYNAMIC_DISPATCH(bf16_split)(op, context, tiles, item, partial, scratch);
          else
            HWY_DYNAMIC_DISPATCH(attention_split)
          (op, context, tiles, item, partial, reinterpret_cast<float*>(scratch));
        }
      });
  parallel_ranges(context.threads, pairs, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t pair = begin; pair < end; ++pair)
      HWY_DYNAMIC_DISPATCH(attention_merge)(op, context, tiles, pair, partial);
  });
}

}  // namespace tidemark::cpu
#endif
