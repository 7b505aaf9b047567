// Attention of many positions in bf16, on a unit made for its products (bf16_product.h), tiled as
// attention.cpp is: S^T = K Q^T and O^T += V^T P^T with query rows along the lanes. A task has up
// to 512 rows, which share turned values; keys are used as they lie in the cache. 32 rows at a time
// go through 64 keys, so that scores and probabilities, in pairs of bf16 as the second product
// wants them, stay in the L1 cache and the right side of a product of 64 in AMX's registers. Limit:
// with AMX per 16 scores 5 cycles of softmax, about 11 vector operations, and (P + Pv) / 32 of
// multiplying tiles, which take twice that to come and go; the two did not overlap in three ways of
// interleaving them. On slower units the products.
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

constexpr int64_t keys = 64;   // per tile
constexpr int64_t block = 32;  // query rows that go through a tile of keys at a time
constexpr int64_t group_rows = product_cols;
// Less than any score of a key that is seen, more than that of a hidden one: a row that sees
// nothing of its first tile subtracts this and gives its keys no weight.
constexpr float lowest = -1e20F;

// Query rows lie in groups of 16: what one product needs is in one piece, and a block's part of all
// this stays in the L1 cache.
struct TileScratch {
  uint32_t* q;        // [rows / 16][P / 2][16], pairs along the depth
  Bf16* k;            // [keys][P]
  Bf16* v;            // [Pv][keys], turned
  float* scores;      // [block / 16][keys][16]
  uint32_t* p;        // [block / 16][keys / 2][16], pairs of keys
  float* out;         // [rows / 16][Pv][16]
  float* turned;      // [16][Pv]
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
  take(r->scores, keys * block);
  take(r->p, keys / 2 * block);
  take(r->out, s.pv * rows);
  take(r->turned, group_rows * s.pv);
  take(r->subtracted, rows);
  take(r->total, rows);
  return used;
}

int64_t bf16_tile_bytes(const Attention& op, int64_t rows) {
  TileScratch unused;
  return carve(op, rows, nullptr, &unused);
}

// Takes `count` new rows of scores of `width` query rows from `row` into the running softmax, and
// gives their probabilities as pairs of keys, with zeros up to a multiple of 32. What is subtracted
// from the scores need not be their largest: any number near it gives the same quotients. So all
// but the first tile are read once, and what was summed before is only rescaled when a score is
// beyond the old number by a lot.
void online_softmax(const TileScratch& r, int64_t row, int64_t width, int64_t count, float scale,
                    int64_t pv) {
  const int64_t padded = round_up(count, product_depth);
  const Vec factor = all(scale);
  for (int64_t i = 0; i < width; i += lanes) {
    const int64_t group = i / group_rows, lane = i % group_rows;
    const float* scores = r.scores + group * keys * group_rows + lane;
    uint32_t* pairs = r.p + group * keys / 2 * group_rows + lane;
    float* subtracted = r.subtracted + row + i;
    float* sum = r.total + row + i;
    // The probabilities' total.
    const auto weigh = [&](Vec less) {
      const auto probability = [&](int64_t key) {
        return exp2_any_to_bf16(hn::MulSub(load(scores + key * group_rows), factor, less));
      };
      Vec total = hn::Zero(floats), more = hn::Zero(floats);
      int64_t s = 0;
      for (; s + 2 <= count; s += 2) {
        const Vec p0 = probability(s), p1 = probability(s + 1);
        total = hn::Add(total, p0);
        more = hn::Add(more, p1);
        store_words(pair_words(p0, p1), pairs + s / 2 * group_rows);
      }
      if (s < count) {
        const Vec p0 = probability(s);
        total = hn::Add(total, p0);
        store_words(pair_words(p0, hn::Zero(floats)), pairs + s / 2 * group_rows);
      }
      return hn::Add(total, more);
    };
    const Vec before = load(subtracted);
    const bool first = hn::AllTrue(floats, hn::Eq(before, all(lowest)));
    Vec total = first ? all(HUGE_VALF) : weigh(before);
    if (!hn::AllTrue(floats, hn::Lt(total, all(0x1p30F)))) {
      Vec peak = load(scores), other = peak;
      int64_t s = 1;
      for (; s + 2 <= count; s += 2) {
        peak = hn::Max(peak, load(scores + s * group_rows));
        other = hn::Max(other, load(scores + (s + 1) * group_rows));
      }
      if (s < count) peak = hn::Max(peak, load(scores + s * group_rows));
      const Vec now = hn::Max(before, hn::Mul(hn::Max(peak, other), factor));
      const Vec shrink = exp2(hn::Sub(before, now));
      total = weigh(now);
      store(now, subtracted);
      store(hn::Mul(load(sum), shrink), sum);
      float* out = r.out + (row + i - lane) * pv + lane;
      for (int64_t j = 0; j < pv && !first; ++j, out += group_rows)
        store(hn::Mul(load(out), shrink), out);
    }
    store(hn::Add(load(sum), total), sum);
    for (int64_t s = round_up(count, 2); s < padded; s += 2)
      store_words(hn::Zero(WordTag()), pairs + s / 2 * group_rows);
  }
}

// Query rows of a tile: `group` heads of each position from `first`.
struct QueryTile {
  int64_t group, first;
  int64_t used, rows;  // rows: padded
  int64_t position(int64_t row) const { return first + std::min(row, used - 1) / group; }
};

// Keys of positions [begin, begin + count), padded to the product's depth; their values are turned.
struct KeyTile {
  const Bf16* k;
  int64_t k_row, begin, count;
};

// The keys of a tile that any of `width` query rows from `row` sees.
void attend(const Attention& op, const CpuContext& context, const QueryTile& tile,
            const TileScratch& r, const KeyTile& seen, int64_t row, int64_t width) {
  const Sizes s(op);
  const int64_t key = seen.begin;
  const int64_t first = tile.position(row), last = tile.position(row + width - 1);
  const bool gone = key >= op.sinks && key + seen.count <= first_key(op, first);
  if (key > last || gone) return;
  const int64_t count = std::min(seen.count, last + 1 - key);
  context.bf16->multiply({.a = seen.k,
                          .a_row = seen.k_row,
                          .b = reinterpret_cast<const Bf16*>(r.q + row * s.p / 2),
                          .b_row = 2 * group_rows,
                          .b_group = group_rows * s.p,
                          .c = r.scores,
                          .c_row = group_rows,
                          .c_group = group_rows * keys,
                          .rows = count,
                          .cols = width,
                          .depth = s.p,
                          .accumulate = false});
  const bool ahead = key + count - 1 > first;
  const bool behind = op.window > 0 && key + count > op.sinks && key + op.window <= last;
  for (int64_t i = 0; i < width && (ahead || behind); i += group_rows)
    hide(op, key, count, tile.first, tile.group, row + i, group_rows, r.scores + i * keys);
  online_softmax(r, row, width, count, op.scale * log2_e, s.pv);
  context.bf16->multiply({.a = r.v,
                          .a_row = keys,
                          .b = reinterpret_cast<const Bf16*>(r.p),
                          .b_row = 2 * group_rows,
                          .b_group = group_rows * keys,
                          .c = r.out + row * s.pv,
                          .c_row = group_rows,
                          .c_group = group_rows * s.pv,
                          .rows = op.value_dim,
                          .cols = width,
                          .depth = round_up(count, product_depth),
                          .accumulate = true});
}

void bf16_tile(const Attention& op, const CpuContext& context, const AttentionTiles& tiles,
               int64_t item, std::byte* base) {
  const int64_t pair = item / tiles.tiles, begin = item % tiles.tiles * tiles.positions;
  const auto p = resolve<Bf16>(op, context, pair / op.kv_heads, pair % op.kv_heads);
  const int64_t head_dim = op.head_dim, value_dim = op.value_dim, group = tiles.group;
  const int64_t used = std::min(tiles.positions, op.length - begin) * group;
  const QueryTile tile{group, op.past + begin, used, round_up(used, group_rows)};
  const int64_t last = tile.position(used);
  const Sizes s(op);
  TileScratch r{};
  carve(op, tile.rows, base, &r);

  for (int64_t row = 0; row < tile.rows; row += group_rows)
    pair_columns(
        [&](int64_t i) {
          return p.q + (begin + (row + i) / group) * op.q.stride + (row + i) % group * head_dim;
        },
        std::min(group_rows, used - row), head_dim, r.q + row * s.p / 2, group_rows, group_rows);
  std::fill(r.out, r.out + s.pv * tile.rows, 0.0F);
  std::fill(r.subtracted, r.subtracted + tile.rows, lowest);
  std::fill(r.total, r.total + tile.rows, 0.0F);

  context.bf16->begin();
  // The sinks before the window of the first row, then the windows.
  const int64_t start = first_key(op, tile.first), sinks = std::min(op.sinks, start);
  for (int64_t key = sinks > 0 ? 0 : start; key <= last;) {
    const bool sink = key < sinks;
    const KeyRun<Bf16> run =
        run_of_keys(op, p, key, std::min(keys, (sink ? sinks : last + 1) - key));
    const bool in_place = run.count % product_rows == 0 && head_dim == s.p;
    if (!in_place)
      copy_rows([&](int64_t i) { return run.k + i * run.k_stride; }, run.count, head_dim, r.k);
    turn_rows([&](int64_t i) { return run.v + i * run.v_stride; }, run.count, value_dim, r.v, keys);
    const KeyTile seen{in_place ? run.k : r.k, in_place ? run.k_stride : s.p, key, run.count};
    for (int64_t row = 0; row < tile.rows; row += block)
      attend(op, context, tile, r, seen, row, std::min(block, tile.rows - row));
    key += run.count;
    if (sink && key == sinks) key = start;
  }
  context.bf16->end();

  for (int64_t row = 0; row < used; row += group_rows) {
    turn_words(reinterpret_cast<const uint32_t*>(r.out + row * s.pv), group_rows, s.pv, group_rows,
               reinterpret_cast<uint32_t*>(r.turned), s.pv);
    for (int64_t i = row; i < std::min(used, row + group_rows); ++i) {
      Bf16* out = p.out + (begin + i / group) * op.out.stride + i % group * value_dim;
      const Vec scale = all(1.0F / r.total[i]);
      for (int64_t j = 0; j < value_dim; j += lanes)
        store_row(hn::Mul(load(r.turned + (i - row) * s.pv + j), scale), out + j, value_dim - j);
    }
  }
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {

HWY_EXPORT(bf16_tile);
HWY_EXPORT(bf16_tile_bytes);

static AttentionTiles bf16_tiles(const Attention& op, const CpuContext& context) {
  return tiles_of(op, context.threads, 512, 8);
}

int64_t bf16_attention_bytes(const Attention& op, const CpuContext& context) {
  const AttentionTiles tiles = bf16_tiles(op, context);
  return context.threads * HWY_DYNAMIC_DISPATCH(bf16_tile_bytes)(op, tiles.rows);
}

void run_bf16_attention(const Attention& op, const CpuContext& context) {
  const AttentionTiles tiles = bf16_tiles(op, context);
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
