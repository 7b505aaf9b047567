// Attention: causal, grouped-query, with online softmax (FlashAttention-2, arXiv 2307.08691).
// Many positions: a task is a tile of up to 128 query rows, all heads of a key/value group
// together, with the rows along the vector lanes: S^T = K Q^T and O^T += V^T P^T read the cache in
// its natural layout, and maxima and sums are per lane. Keys and values of a bf16 cache are
// unpacked per tile. One position (decode): the cache is streamed once, in splits of the context
// when sequences and groups alone cannot occupy the threads; 4 keys x up to 4 heads of the group
// share each load. Limit: multiply-adds for many positions (softmax adds about 18 vector operations
// to P + Pv), the memory of the cache for one. bf16 is computed at fp32 rate.
#include "backend/cpu/attention.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/product-inl.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

// Stands for minus infinity, so that differences stay numbers: 2^(hidden - m) is 1e-38.
constexpr float hidden = -1e30F;

template <class T>
struct AttentionPointers {
  const T* q;
  const T* k;
  const T* v;
  const T* k_cache;
  const T* v_cache;
  T* out;
  int64_t k_stride, v_stride;
};

// Of one sequence and key/value head; q and out at the group's first head.
template <class T>
AttentionPointers<T> resolve(const Attention& op, const CpuContext& context, int64_t sequence,
                             int64_t kv_head) {
  const int64_t rows = op.batch * op.length, first = sequence * op.length;
  const int64_t slots = op.batch * op.kv_heads * op.capacity;
  const int64_t slot = (sequence * op.kv_heads + kv_head) * op.capacity;
  const int64_t head = kv_head * (op.heads / op.kv_heads);
  AttentionPointers<T> p{};
  p.q = context.pointer<T>(op.q, rows, op.heads * op.head_dim) + first * op.q.stride +
        head * op.head_dim;
  p.out = context.pointer<T>(op.out, rows, op.heads * op.value_dim) + first * op.out.stride +
          head * op.value_dim;
  p.k_cache = context.block<T>(op.k_cache, slots * op.head_dim) + slot * op.head_dim;
  p.v_cache = context.block<T>(op.v_cache, slots * op.value_dim) + slot * op.value_dim;
  if (op.window > 0) {
    p.k = context.pointer<T>(op.k, rows, op.kv_heads * op.head_dim) + first * op.k.stride +
          kv_head * op.head_dim;
    p.v = context.pointer<T>(op.v, rows, op.kv_heads * op.value_dim) + first * op.v.stride +
          kv_head * op.value_dim;
    p.k_stride = op.k.stride;
    p.v_stride = op.v.stride;
  }
  return p;
}

// Keys and values of positions [begin, begin + count) lying at a constant stride.
template <class T>
struct KeyRun {
  const T* k;
  const T* v;
  int64_t k_stride, v_stride, count;
};

template <class T>
KeyRun<T> run_of_keys(const Attention& op, const AttentionPointers<T>& p, int64_t begin,
                      int64_t most) {
  if (op.window > 0 && begin >= op.past) {
    const int64_t t = begin - op.past;
    return {p.k + t * p.k_stride, p.v + t * p.v_stride, p.k_stride, p.v_stride, most};
  }
  int64_t slot = begin, count = most;
  if (op.window > 0 && begin < op.sinks) {
    count = std::min({most, op.past - begin, op.sinks - begin});
  } else if (op.window > 0) {
    slot = op.sinks + (begin - op.sinks) % (op.capacity - op.sinks);
    count = std::min({most, op.past - begin, op.capacity - slot});
  }
  return {p.k_cache + slot * op.head_dim, p.v_cache + slot * op.value_dim, op.head_dim,
          op.value_dim, count};
}

int64_t first_key(const Attention& op, int64_t position) {
  return op.window > 0 ? std::max<int64_t>(0, position - op.window + 1) : 0;
}

// --- Many positions -------------------------------------------------------------------------

struct TileScratch {
  float* q;        // [P][rows], scaled to powers of two
  float* scores;   // [key_tile][rows]
  float* out;      // [Pv][rows]
  float* largest;  // [rows]
  float* total;    // [rows]
  float* k;        // [key_tile][P], of a bf16 cache
  float* v;        // [key_tile][Pv]
};

TileScratch carve(const Attention& op, int64_t rows, float* base) {
  TileScratch r{};
  const auto take = [&base](int64_t count) {
    float* at = base;
    base += round_up(count, vector_floats);
    return at;
  };
  r.q = take(op.head_dim * rows);
  r.scores = take(key_tile * rows);
  r.out = take(op.value_dim * rows);
  r.largest = take(rows);
  r.total = take(rows);
  r.k = take(key_tile * round_up(op.head_dim, vector_floats));
  r.v = take(key_tile * round_up(op.value_dim, vector_floats));
  return r;
}

const float* as_floats(const float* from, int64_t, int64_t, int64_t* /*stride*/, float*) {
  return from;
}

const float* as_floats(const Bf16* from, int64_t count, int64_t width, int64_t* stride, float* to) {
  const int64_t padded = round_up(width, vector_floats);
  for (int64_t i = 0; i < count; ++i) unpack_row(from + i * *stride, width, to + i * padded);
  *stride = padded;
  return to;
}

// Hides keys [begin, begin + count) from the rows that may not see them: keys ahead, and unless
// they are sinks, keys behind the window. Row r stands for position first + r / group.
void hide(const Attention& op, int64_t begin, int64_t count, int64_t first, int64_t group,
          int64_t rows, float* scores) {
  for (int64_t s = 0; s < count; ++s) {
    const int64_t key = begin + s;
    float* row = scores + s * rows;
    const int64_t blind = std::clamp<int64_t>((key - first) * group, 0, rows);
    std::fill(row, row + blind, hidden);
    if (op.window > 0 && key >= op.sinks) {
      const int64_t gone = std::clamp<int64_t>((key + op.window - first) * group, 0, rows);
      std::fill(row + gone, row + rows, hidden);
    }
  }
}

// Takes `count` new rows of scores into the running softmax; they become probabilities.
void online_softmax(const Attention& op, const TileScratch& r, int64_t count, int64_t rows) {
  for (int64_t lane = 0; lane < rows; lane += lanes) {
    float* scores = r.scores + lane;
    const Vec before = load(r.largest + lane);
    Vec largest = before;
    for (int64_t s = 0; s < count; ++s) largest = hn::Max(largest, load(scores + s * rows));
    Vec total = hn::Zero(floats), more = hn::Zero(floats);
    int64_t s = 0;
    for (; s + 2 <= count; s += 2) {
      const Vec p0 = exp2(hn::Sub(load(scores + s * rows), largest));
      const Vec p1 = exp2(hn::Sub(load(scores + (s + 1) * rows), largest));
      store(p0, scores + s * rows);
      store(p1, scores + (s + 1) * rows);
      total = hn::Add(total, p0);
      more = hn::Add(more, p1);
    }
    if (s < count) {
      const Vec p0 = exp2(hn::Sub(load(scores + s * rows), largest));
      store(p0, scores + s * rows);
      total = hn::Add(total, p0);
    }
    const Vec shrink = exp2(hn::Sub(before, largest));
    store(largest, r.largest + lane);
    store(hn::MulAdd(load(r.total + lane), shrink, hn::Add(total, more)), r.total + lane);
    if (!hn::AllTrue(floats, hn::Eq(before, largest)))
      for (int64_t j = 0; j < op.value_dim; ++j) {
        float* out = r.out + j * rows + lane;
        store(hn::Mul(load(out), shrink), out);
      }
  }
}

template <class T>
void query_tile(const Attention& op, const CpuContext& context, const AttentionTiles& tiles,
                int64_t item, float* base) {
  const int64_t tile = item % tiles.tiles, pair = item / tiles.tiles;
  const auto p = resolve<T>(op, context, pair / op.kv_heads, pair % op.kv_heads);
  const int64_t head_dim = op.head_dim, value_dim = op.value_dim, group = tiles.group;
  const int64_t begin = tile * tiles.positions;  // of this step
  const int64_t positions = std::min(tiles.positions, op.length - begin);
  const int64_t used = positions * group, rows = round_up(used, lanes);
  const int64_t first = op.past + begin, last = first + positions - 1;
  const TileScratch r = carve(op, rows, base);

  std::fill(r.q, r.q + head_dim * rows, 0.0F);
  for (int64_t row = 0; row < used; ++row) {
    const T* q = p.q + (begin + row / group) * op.q.stride + row % group * head_dim;
    for (int64_t i = 0; i < head_dim; ++i)
      r.q[i * rows + row] = static_cast<float>(q[i]) * (op.scale * log2_e);
  }
  std::fill(r.out, r.out + value_dim * rows, 0.0F);
  std::fill(r.largest, r.largest + rows, hidden);
  std::fill(r.total, r.total + rows, 0.0F);

  // The sinks before the window of the first row, then the windows.
  const int64_t start = first_key(op, first), sinks = std::min(op.sinks, start);
  for (int64_t key = sinks > 0 ? 0 : start; key <= last;) {
    const bool sink = key < sinks;
    const KeyRun<T> run =
        run_of_keys(op, p, key, std::min(key_tile, (sink ? sinks : last + 1) - key));
    int64_t k_stride = run.k_stride, v_stride = run.v_stride;
    const float* k = as_floats(run.k, run.count, head_dim, &k_stride, r.k);
    const float* v = as_floats(run.v, run.count, value_dim, &v_stride, r.v);
    multiply({.a = k,
              .a_row = k_stride,
              .a_depth = 1,
              .b = r.q,
              .b_row = rows,
              .c = r.scores,
              .c_row = rows,
              .rows = run.count,
              .cols = rows,
              .depth = head_dim,
              .accumulate = false});
    const bool ahead = key + run.count - 1 > first;
    const bool behind = !sink && op.window > 0 && key + op.window <= last;
    if (ahead || behind) hide(op, key, run.count, first, group, rows, r.scores);
    online_softmax(op, r, run.count, rows);
    multiply({.a = v,
              .a_row = 1,
              .a_depth = v_stride,
              .b = r.scores,
              .b_row = rows,
              .c = r.out,
              .c_row = rows,
              .rows = value_dim,
              .cols = rows,
              .depth = run.count,
              .accumulate = true});
    key += run.count;
    if (sink && key == sinks) key = start;
  }

  for (int64_t row = 0; row < used; ++row) {
    T* out = p.out + (begin + row / group) * op.out.stride + row % group * value_dim;
    const float scale = 1.0F / r.total[row];
    for (int64_t j = 0; j < value_dim; ++j) out[j] = static_cast<T>(r.out[j * rows + row] * scale);
  }
}

void attention_tile(const Attention& op, const CpuContext& context, const AttentionTiles& tiles,
                    int64_t item, float* base) {
  if (context.is_f32(op.q))
    query_tile<float>(op, context, tiles, item, base);
  else
    query_tile<Bf16>(op, context, tiles, item, base);
}

// --- One position ---------------------------------------------------------------------------

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
void decode_split(const Attention& op, const CpuContext& context, const AttentionTiles& tiles,
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

void attention_split(const Attention& op, const CpuContext& context, const AttentionTiles& tiles,
                     int64_t item, float* partial, float* scratch) {
  if (context.is_f32(op.q))
    decode_split<float>(op, context, tiles, item, partial, scratch);
  else
    decode_split<Bf16>(op, context, tiles, item, partial, scratch);
}

template <class T>
void merge_splits(const Attention& op, const CpuContext& context, const AttentionTiles& tiles,
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

void attention_merge(const Attention& op, const CpuContext& context, const AttentionTiles& tiles,
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

HWY_EXPORT(attention_tile);
HWY_EXPORT(attention_split);
HWY_EXPORT(attention_merge);

namespace {

AttentionTiles tiles_of(const Attention& op, int threads) {
  AttentionTiles tiles{};
  tiles.group = op.heads / op.kv_heads;
  const int64_t pairs = op.batch * op.kv_heads;
  tiles.positions = std::max<int64_t>(1, target_rows / tiles.group);
  // Smaller tiles rather than idle threads, but not below a vector of rows.
  const int64_t least = divide_up(vector_floats, tiles.group);
  while (tiles.positions > least && pairs * divide_up(op.length, tiles.positions) < 3 * threads)
    tiles.positions = std::max(least, tiles.positions / 2);
  tiles.tiles = divide_up(op.length, tiles.positions);
  tiles.rows = round_up(tiles.positions * tiles.group, vector_floats);
  tiles.splits = divide_up(2 * threads, pairs);
  if (pairs % threads == 0) tiles.splits = 1;
  return tiles;
}

int64_t tile_floats(const Attention& op, const AttentionTiles& tiles) {
  return (op.head_dim + op.value_dim + key_tile + 2) * tiles.rows +
         key_tile * (round_up(op.head_dim, vector_floats) + round_up(op.value_dim, vector_floats));
}

int64_t partial_floats(const Attention& op, const AttentionTiles& tiles) {
  return op.batch * op.kv_heads * tiles.splits * tiles.group *
         (round_up(op.value_dim, 2 * vector_floats) + vector_floats);
}

int64_t split_floats(const Attention& op, const AttentionTiles& tiles) {
  return tiles.group * (round_up(op.head_dim, vector_floats) + key_block);
}

}  // namespace

int64_t workspace_bytes(const Attention& op, const CpuContext& context) {
  const AttentionTiles tiles = tiles_of(op, context.threads);
  if (op.length > 1) return context.threads * tile_floats(op, tiles) * 4;
  return (partial_floats(op, tiles) + context.threads * split_floats(op, tiles)) * 4;
}

std::string_view variant(const Attention& op, const CpuContext&) {
  return op.length > 1 ? "flash" : "split decode";
}

void run(const Attention& op, const CpuContext& context) {
  const AttentionTiles tiles = tiles_of(op, context.threads);
  auto* scratch = context.workspace<float>(workspace_bytes(op, context));
  const int64_t pairs = op.batch * op.kv_heads;
  if (op.length > 1) {
    const int64_t items = pairs * tiles.tiles, size = tile_floats(op, tiles);
    // The longest first: late tiles see the most keys.
    parallel_items(context.threads, items, [&](int64_t item, int thread) {
      const int64_t tile = tiles.tiles - 1 - item / pairs, pair = item % pairs;
      HWY_DYNAMIC_DISPATCH(attention_tile)
      (op, context, tiles, pair * tiles.tiles + tile, scratch + thread * size);
    });
    return;
  }
  float* own = scratch + partial_floats(op, tiles);
  const int64_t size = split_floats(op, tiles);
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
