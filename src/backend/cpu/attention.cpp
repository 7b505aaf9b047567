// Attention: causal, grouped-query, with online softmax (FlashAttention-2, arXiv 2307.08691).
// Here many positions in fp32, and who does what: bf16 on units made for it is attention_bf16.cpp,
// one position (decode) attention_decode.cpp. A task is a tile of up to 128 query rows, all heads
// of a key/value group together, with the rows along the vector lanes: S^T = K Q^T and O^T += V^T
// P^T read the cache in its natural layout, and maxima and sums are per lane. Keys and values of a
// bf16 cache are unpacked per tile. Limit: multiply-adds; softmax adds about 18 vector operations
// to P + Pv.
#include "backend/cpu/attention.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/attention-inl.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/product-inl.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

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
    if (ahead || behind) hide(op, key, run.count, first, group, 0, rows, r.scores);
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

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {

HWY_EXPORT(attention_tile);

namespace {

enum class Way { tiled, bf16, decode };

Way choose(const Attention& op, const CpuContext& context) {
  if (op.length == 1) return Way::decode;
  return context.bf16 && !context.is_f32(op.q) ? Way::bf16 : Way::tiled;
}

int64_t tile_floats(const Attention& op, const AttentionTiles& tiles) {
  return (op.head_dim + op.value_dim + key_tile + 2) * tiles.rows +
         key_tile * (round_up(op.head_dim, vector_floats) + round_up(op.value_dim, vector_floats));
}

AttentionTiles float_tiles(const Attention& op, const CpuContext& context) {
  return tiles_of(op, context.threads, 128, 3);
}

void run_tiled(const Attention& op, const CpuContext& context) {
  const AttentionTiles tiles = float_tiles(op, context);
  auto* scratch = context.workspace<float>(workspace_bytes(op, context));
  const int64_t pairs = op.batch * op.kv_heads, size = tile_floats(op, tiles);
  // The longest first: late tiles see the most keys.
  parallel_items(context.threads, pairs * tiles.tiles, [&](int64_t item, int thread) {
    const int64_t tile = tiles.tiles - 1 - item / pairs, pair = item % pairs;
    HWY_DYNAMIC_DISPATCH(attention_tile)
    (op, context, tiles, pair * tiles.tiles + tile, scratch + thread * size);
  });
}

}  // namespace

AttentionTiles tiles_of(const Attention& op, int threads, int64_t target_rows, int64_t tasks) {
  AttentionTiles tiles{};
  tiles.group = op.heads / op.kv_heads;
  const int64_t pairs = op.batch * op.kv_heads;
  tiles.positions = std::max<int64_t>(1, target_rows / tiles.group);
  // Smaller tiles rather than idle threads, but not below a vector of rows.
  const int64_t least = divide_up(vector_floats, tiles.group);
  while (tiles.positions > least && pairs * divide_up(op.length, tiles.positions) < tasks * threads)
    tiles.positions = std::max(least, tiles.positions / 2);
  tiles.tiles = divide_up(op.length, tiles.positions);
  tiles.positions = divide_up(op.length, tiles.tiles);
  tiles.rows = round_up(tiles.positions * tiles.group, vector_floats);
  return tiles;
}

int64_t workspace_bytes(const Attention& op, const CpuContext& context) {
  switch (choose(op, context)) {
    case Way::decode:
      return decode_attention_bytes(op, context);
    case Way::bf16:
      return bf16_attention_bytes(op, context);
    case Way::tiled:
      return context.threads * tile_floats(op, float_tiles(op, context)) * 4;
  }
  return 0;
}

std::string_view variant(const Attention& op, const CpuContext& context) {
  switch (choose(op, context)) {
    case Way::decode:
      return decode_variant(op, context);
    case Way::bf16:
      return context.bf16->name;
    case Way::tiled:
      return "flash";
  }
  return {};
}

void run(const Attention& op, const CpuContext& context) {
  switch (choose(op, context)) {
    case Way::decode:
      return run_decode_attention(op, context);
    case Way::bf16:
      return run_bf16_attention(op, context);
    case Way::tiled:
      return run_tiled(op, context);
  }
}

}  // namespace tidemark::cpu
#endif
