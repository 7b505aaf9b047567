// Attention of many positions in bf16, on a unit made for its products (bf16_product.h), tiled as
// attention.cpp is: S^T = K Q^T and O^T += V^T P^T with query rows along the lanes. Keys are used
// as they lie in the cache, queries are turned once per tile, values once per tile of keys; the
// probabilities leave the softmax as pairs of bf16, as the second product wants them.
// Limit: with AMX the exponential, about 10 vector operations per 16 scores against 4 (P + Pv) /
// 1024 cycles of products; on units slower than that the products.
#include <algorithm>

#include "backend/cpu/attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention_bf16.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/attention-inl.h"
#include "backend/cpu/bf16-inl.h"
#include "backend/cpu/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

constexpr int64_t keys = 128;  // per tile
// Less than any score of a key that is seen, more than that of a hidden one: a row that sees
// nothing of its first tile subtracts this and gives its keys no weight.
constexpr float lowest = -1e20F;

struct TileScratch {
  uint32_t* q;        // [P / 2][rows], pairs along the depth
  Bf16* k;            // [keys][P]
  Bf16* v;            // [Pv][keys], turned
  float* scores;      // [keys][rows]
  uint32_t* p;        // [keys / 2][rows], pairs of keys
  float* out;         // [Pv][rows]
  float* turned;      // [rows][Pv]
  float* subtracted;  // [rows], from scaled scores
  float* total;       // [rows]
};

struct Sizes {
  int64_t p, pv;  // padded
  explicit Sizes(const Attention& op)
      : p(round_up(op.head_dim, product_depth)), pv(round_up(op.value_dim, product_rows)) {}
};

// Every part is a multiple of 64 bytes.
int64_t carve(const Attention& op, int64_t rows, std::byte* base, TileScratch* r) {
  const Sizes s(op);
  int64_t used = 0;
  const auto take = [&](auto*& part, int64_t count) {
    part = reinterpret_cast<std::remove_reference_t<decltype(part)>>(base + used);
    used += count * static_cast<int64_t>(sizeof(*part));
  };
  take(r->q, s.p / 2 * rows);
  take(r->k, keys * s.p);
  take(r->v, s.pv * keys);
  take(r->scores, keys * rows);
  take(r->p, keys / 2 * rows);
  take(r->out, s.pv * rows);
  take(r->turned, rows * s.pv);
  take(r->subtracted, rows);
  take(r->total, rows);
  return used;
}

int64_t bf16_tile_bytes(const Attention& op, int64_t rows) {
  TileScratch unused;
  return carve(op, rows, nullptr, &unused);
}

// Takes `count` new rows of scores into the running softmax, and gives their probabilities as pairs
// of keys, with zeros up to a multiple of 32. What is subtracted from the scores need not be their
// largest: any number near it gives the same quotients. So all but the first tile are read once,
// and what was summed before is only rescaled when a score is beyond the old number by a lot.
void online_softmax(const TileScratch& r, int64_t count, int64_t rows, float scale,
                    int64_t value_dim, bool first) {
  const int64_t padded = round_up(count, product_depth);
  const Vec factor = all(scale);
  for (int64_t lane = 0; lane < rows; lane += lanes) {
    const float* scores = r.scores + lane;
    uint32_t* pairs = r.p + lane;
    // The probabilities' total.
    const auto weigh = [&](Vec subtracted) {
      const auto probability = [&](int64_t key) {
        return exp2_any_to_bf16(hn::MulSub(load(scores + key * rows), factor, subtracted));
      };
      Vec total = hn::Zero(floats), more = hn::Zero(floats);
      int64_t s = 0;
      for (; s + 2 <= count; s += 2) {
        const Vec p0 = probability(s), p1 = probability(s + 1);
        total = hn::Add(total, p0);
        more = hn::Add(more, p1);
        store_words(pair_words(p0, p1), pairs + s / 2 * rows);
      }
      if (s < count) {
        const Vec p0 = probability(s);
        total = hn::Add(total, p0);
        store_words(pair_words(p0, hn::Zero(floats)), pairs + s / 2 * rows);
      }
      return hn::Add(total, more);
    };
    const Vec before = load(r.subtracted + lane);
    Vec total = first ? all(HUGE_VALF) : weigh(before);
    if (!hn::AllTrue(floats, hn::Lt(total, all(0x1p30F)))) {
      Vec peak = load(scores), other = peak;
      int64_t s = 1;
      for (; s + 2 <= count; s += 2) {
        peak = hn::Max(peak, load(scores + s * rows));
        other = hn::Max(other, load(scores + (s + 1) * rows));
      }
      if (s < count) peak = hn::Max(peak, load(scores + s * rows));
      const Vec now = hn::Max(before, hn::Mul(hn::Max(peak, other), factor));
      const Vec shrink = exp2(hn::Sub(before, now));
      total = weigh(now);
      store(now, r.subtracted + lane);
      store(hn::Mul(load(r.total + lane), shrink), r.total + lane);
      for (int64_t j = 0; j < value_dim && !first; ++j) {
        float* out = r.out + j * rows + lane;
        store(hn::Mul(load(out), shrink), out);
      }
    }
    store(hn::Add(load(r.total + lane), total), r.total + lane);
    for (int64_t s = round_up(count, 2); s < padded; s += 2)
      store_words(hn::Zero(WordTag()), pairs + s / 2 * rows);
  }
}

void bf16_tile(const Attention& op, const CpuContext& context, const AttentionTiles& tiles,
               int64_t item, std::byte* base) {
  const int64_t tile = item % tiles.tiles, pair = item / tiles.tiles;
  const auto p = resolve<Bf16>(op, context, pair / op.kv_heads, pair % op.kv_heads);
  const int64_t head_dim = op.head_dim, value_dim = op.value_dim, group = tiles.group;
  const int64_t begin = tile * tiles.positions;  // of this step
  const int64_t positions = std::min(tiles.positions, op.length - begin);
  const int64_t used = positions * group, rows = round_up(used, product_cols);
  const int64_t first = op.past + begin, last = first + positions - 1;
  const Sizes s(op);
  TileScratch r{};
  carve(op, rows, base, &r);

  pair_columns(
      [&](int64_t row) {
        return p.q + (begin + row / group) * op.q.stride + row % group * head_dim;
      },
      used, head_dim, r.q, rows, rows);
  std::fill(r.out, r.out + s.pv * rows, 0.0F);
  std::fill(r.subtracted, r.subtracted + rows, lowest);
  std::fill(r.total, r.total + rows, 0.0F);

  context.bf16->begin();
  bool first_tile = true;
  // The sinks before the window of the first row, then the windows.
  const int64_t start = first_key(op, first), sinks = std::min(op.sinks, start);
  for (int64_t key = sinks > 0 ? 0 : start; key <= last;) {
    const bool sink = key < sinks;
    const KeyRun<Bf16> run =
        run_of_keys(op, p, key, std::min(keys, (sink ? sinks : last + 1) - key));
    const bool in_place = run.count % product_rows == 0 && head_dim == s.p;
    if (!in_place)
      copy_rows([&](int64_t i) { return run.k + i * run.k_stride; }, run.count, head_dim, r.k);
    turn_rows([&](int64_t i) { return run.v + i * run.v_stride; }, run.count, value_dim, r.v, keys);
    context.bf16->multiply({.a = in_place ? run.k : r.k,
                            .a_row = in_place ? run.k_stride : s.p,
                            .b = reinterpret_cast<const Bf16*>(r.q),
                            .b_row = 2 * rows,
                            .c = r.scores,
                            .c_row = rows,
                            .rows = run.count,
                            .cols = rows,
                            .depth = s.p,
                            .accumulate = false});
    const bool ahead = key + run.count - 1 > first;
    const bool behind = !sink && op.window > 0 && key + op.window <= last;
    if (ahead || behind) hide(op, key, run.count, first, group, rows, r.scores);
    online_softmax(r, run.count, rows, op.scale * log2_e, value_dim, first_tile);
    first_tile = false;
    context.bf16->multiply({.a = r.v,
                            .a_row = keys,
                            .b = reinterpret_cast<const Bf16*>(r.p),
                            .b_row = 2 * rows,
                            .c = r.out,
                            .c_row = rows,
                            .rows = value_dim,
                            .cols = rows,
                            .depth = round_up(run.count, product_depth),
                            .accumulate = true});
    key += run.count;
    if (sink && key == sinks) key = start;
  }
  context.bf16->end();

  turn_words(reinterpret_cast<const uint32_t*>(r.out), rows, s.pv, rows,
             reinterpret_cast<uint32_t*>(r.turned), s.pv);
  for (int64_t row = 0; row < used; ++row) {
    Bf16* out = p.out + (begin + row / group) * op.out.stride + row % group * value_dim;
    const Vec scale = all(1.0F / r.total[row]);
    for (int64_t j = 0; j < value_dim; j += lanes)
      store_row(hn::Mul(load(r.turned + row * s.pv + j), scale), out + j, value_dim - j);
  }
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {

HWY_EXPORT(bf16_tile);
HWY_EXPORT(bf16_tile_bytes);

int64_t bf16_attention_bytes(const Attention& op, const CpuContext& context) {
  const AttentionTiles tiles = tiles_of(op, context.threads);
  return context.threads * HWY_DYNAMIC_DISPATCH(bf16_tile_bytes)(op, tiles.rows);
}

void run_bf16_attention(const Attention& op, const CpuContext& context) {
  const AttentionTiles tiles = tiles_of(op, context.threads);
  auto* scratch = context.workspace<std::byte>(bf16_attention_bytes(op, context));
  const int64_t pairs = op.batch * op.kv_heads;
  const int64_t size = HWY_DYNAMIC_DISPATCH(bf16_tile_bytes)(op, tiles.rows);
  // The longest first: late tiles see the most keys.
  parallel_items(context.threads, pairs * tiles.tiles, [&](int64_t item, int thread) {
    const int64_t tile = tiles.tiles - 1 - item / pairs, pair = item % pairs;
    HWY_DYNAMIC_DISPATCH(bf16_tile)
    (op, context, tiles, pair * tiles.tiles + tile, scratch + thread * size);
  });
}

}  // namespace tidemark::cpu
#endif
