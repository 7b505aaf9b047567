// SSD in blocks (ssd.cpp) in bf16, on a unit made for its products (bf16_product.h). Up to 512
// positions of blocks are taken at a time, and a head goes through them one after the other with
// its state turned, S^T [N][P], in scratch: so it is the right side of the carried product and the
// sum of the state's own, whose left side, B^T, is turned once for all heads of a group. The decay
// of scores costs an exponential per pair only on the diagonal of 64 x 64 parts: below it, decay(t,
// s) = decay(t, r) decay(r, s) with r the last position of s's part, so both are at most 1. Inputs
// of products are rounded to bf16, as in mamba_ssm's kernels; sums and the state are fp32. Limit:
// the products on slow units; with AMX the vector work around them.
#include <algorithm>

#include "backend/cpu/ssd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/ssd_bf16.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/bf16-inl.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/prefetch.h"
#include "backend/cpu/ssd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

constexpr int64_t part = 64;  // rows and columns of scores decayed at a time

// What heads go through over and over lies in pieces of tiles: columns of P in groups of 16, sums
// over positions in steps of 32. Within such a step positions are paired t with t + 16, on both
// sides of a product, so that two vectors of scores become one of pairs without a shuffle.
constexpr int64_t group_cols = product_cols, step = product_depth, half_step = step / 2;

struct Scratch {
  // Shared, by (sequence, group) and block
  Bf16* c;         // [Q][N]
  uint32_t* b;     // [N / 2][Q], pairs along N
  Bf16* b_turned;  // [Q / 32][N][32], in pairs of positions
  float* scores;   // [Q][Q], C B^T on and below the diagonal
  // Of one thread
  uint32_t* x;            // [P / 16][Q / 2][16], d * x in pairs of positions
  uint32_t* x_end;        // the same decayed to the end of the block
  float* y;               // [P / 16][Q][16]
  uint32_t* decayed;      // [Q / 32][part][16], pairs of positions
  float* state;           // [P / 16][N][16]
  uint32_t* state_pairs;  // [P / 16][N / 2][16]
  float* turned;          // [P][N]
  float* d;               // [Q]
  float* sum;             // [Q], log2 of the decay from the start ...
  float* rest;            // [Q], ... and what rounding lost of it
  float* to_end;          // [Q], decay to the end of the block
  float* from_start;      // [Q], decay from its start
  float* to_part;         // [Q], decay to the end of the position's part
  float* from_part;       // [Q / part][part], decay from the end of a part to the rows at hand
};

// Of a run of the operator; padded.
struct Sizes {
  int64_t q, p, n, blocks;
  explicit Sizes(const Ssd& op)
      : q(round_up(std::min(op.chunk, op.length), product_depth)),
        p(round_up(op.head_dim, product_cols)),
        n(round_up(op.state_size, product_depth)),
        blocks(std::clamp<int64_t>(512 / op.chunk, 1, divide_up(op.length, op.chunk))) {}
};

struct Bytes {
  int64_t shared, own;
};

Bytes carve(const Sizes& s, std::byte* shared, std::byte* own, Scratch* r) {
  int64_t used = 0;
  const auto take = [&used](std::byte* base, auto*& part, int64_t count) {
    part = reinterpret_cast<std::remove_reference_t<decltype(part)>>(base + used);
    used += round_up(count * static_cast<int64_t>(sizeof(*part)), 64);
  };
  take(shared, r->c, s.q * s.n);
  take(shared, r->b, s.n / 2 * s.q);
  take(shared, r->b_turned, s.n * s.q);
  take(shared, r->scores, s.q * s.q);
  const int64_t shared_bytes = std::exchange(used, 0);
  take(own, r->x, s.q / 2 * s.p);
  take(own, r->x_end, s.q / 2 * s.p);
  take(own, r->y, s.q * s.p);
  take(own, r->decayed, part * s.q / 2);
  take(own, r->state, s.n * s.p);
  take(own, r->state_pairs, s.n / 2 * s.p);
  take(own, r->turned, s.p * s.n);
  for (float** row : {&r->d, &r->sum, &r->rest, &r->to_end, &r->from_start, &r->to_part})
    take(own, *row, s.q);
  take(own, r->from_part, divide_up(s.q, part) * part);
  return {shared_bytes, used};
}

int64_t groups_of(const Ssd& op) {
  return op.batch * op.groups;
}

Bytes bf16_bytes(const Ssd& op) {
  Scratch unused;
  return carve(Sizes(op), nullptr, nullptr, &unused);
}

// The scratch of block `block` of a span, group `group` and thread `thread`.
Scratch scratch_of(const Ssd& op, std::byte* base, int64_t group, int64_t block, int64_t thread) {
  const Sizes s(op);
  const Bytes bytes = bf16_bytes(op);
  std::byte* own = base + groups_of(op) * s.blocks * bytes.shared + thread * bytes.own;
  Scratch r{};
  carve(s, base + (group * s.blocks + block) * bytes.shared, own, &r);
  return r;
}

// Rows [row, row + part) of a group's block, whose positions are [start, start + length).
void lay_out(const Ssd& op, const CpuContext& context, int64_t start, int64_t length, int64_t group,
             int64_t row, const Scratch& r) {
  const int64_t rows = op.batch * op.length, width = op.groups * op.state_size;
  const int64_t first = group / op.groups * op.length + start + row;
  const int64_t col = group % op.groups * op.state_size, count = std::min(part, length - row);
  const Sizes s(op);
  const Bf16* b = context.pointer<Bf16>(op.b, rows, width) + first * op.b.stride + col;
  const Bf16* c = context.pointer<Bf16>(op.c, rows, width) + first * op.c.stride + col;
  const auto b_row = [&](int64_t t) { return b + t * op.b.stride; };
  copy_rows([&](int64_t t) { return c + t * op.c.stride; }, count, op.state_size, r.c + row * s.n);
  pair_columns(b_row, count, op.state_size, r.b + row, s.q, round_up(count, product_cols));
  for (int64_t first_row = 0; first_row < count; first_row += step) {
    const auto paired = [&](int64_t i) {
      const int64_t t = first_row + i / 2 + i % 2 * half_step;
      return t < count ? b_row(t) : nullptr;
    };
    turn_rows(paired, step, op.state_size, r.b_turned + (row + first_row) * s.n, step);
  }
}

// C B^T of rows [row, row + part), up to the diagonal.
void score(const Ssd& op, const CpuContext& context, int64_t length, int64_t row,
           const Scratch& r) {
  const Sizes s(op);
  const int64_t count = std::min(part, length - row);
  context.bf16->begin();
  context.bf16->multiply({.a = r.c + row * s.n,
                          .a_row = s.n,
                          .b = reinterpret_cast<const Bf16*>(r.b),
                          .b_row = 2 * s.q,
                          .c = r.scores + row * s.q,
                          .c_row = s.q,
                          .rows = count,
                          .cols = round_up(row + count, product_cols),
                          .depth = s.n,
                          .accumulate = false});
  context.bf16->end();
}

// 2^(sum[to] - sum[from]) for vectors of sums.
struct Sum {
  Vec sum, rest;
};
HWY_INLINE Sum load_sum(const Scratch& r, int64_t t) {
  return {load(r.sum + t), load(r.rest + t)};
}
HWY_INLINE Sum same_sum(const Scratch& r, int64_t t) {
  return {all(r.sum[t]), all(r.rest[t])};
}
HWY_INLINE Vec exponent(const Sum& to, const Sum& from) {
  return hn::Add(hn::Sub(to.sum, from.sum), hn::Sub(to.rest, from.rest));
}

// Row t of the decayed scores, zero from t + 1 to `depth`; from_part holds what its row needs.
void decay_row(const Scratch& r, const Sizes& s, int64_t row, int64_t t, int64_t depth) {
  const float* scores = r.scores + t * s.q;
  uint32_t* to = r.decayed + (t - row) * half_step;
  const auto write = [&](int64_t begin, int64_t end, const auto& decayed) {
    for (int64_t j = begin; j < end; j += step)
      for (int64_t i = 0; i < half_step; i += lanes)
        store_words(pair_words(decayed(j + i), decayed(j + i + half_step)),
                    to + j / step * part * half_step + i);
  };
  for (int64_t first = 0; first < row; first += part) {
    const Vec from = all(r.from_part[first + t - row]);
    write(first, first + part,
          [&](int64_t j) { return hn::Mul(hn::Mul(load(scores + j), load(r.to_part + j)), from); });
  }
  const Sum at = same_sum(r, t);
  write(row, depth, [&](int64_t j) {
    if (j > t) return hn::Zero(floats);
    const Vec score = hn::Mul(exp2_to_bf16(exponent(at, load_sum(r, j))), load(scores + j));
    const auto seen = hn::Lt(hn::Iota(floats, static_cast<float>(j - t)), all(0.5F));
    return hn::IfThenElseZero(seen, score);
  });
}

// Sums, decays and d * x of a head's block.
void prepare(const Ssd& op, const CpuContext& context, int64_t head, int64_t first, int64_t length,
             const Scratch& r) {
  const Sizes s(op);
  const int64_t rows = op.batch * op.length, head_dim = op.head_dim;
  const Bf16* x = context.pointer<Bf16>(op.x, rows, op.heads * head_dim) + first * op.x.stride +
                  head * head_dim;
  const Bf16* dt = context.pointer<Bf16>(op.dt, rows, op.heads) + first * op.dt.stride + head;
  const double rate = -std::exp(static_cast<float>(context.block<Bf16>(op.a_log, op.heads)[head]));
  const float bias =
      op.dt_bias ? static_cast<float>(context.block<Bf16>(op.dt_bias, op.heads)[head]) : 0.0F;
  running_sums(op, dt, bias, rate * 1.4426950408889634, length, s.q, r.d, r.sum, r.rest);
  const Sum start{hn::Zero(floats), hn::Zero(floats)}, end = same_sum(r, length - 1);
  for (int64_t t = 0; t < s.q; t += lanes) {
    const Sum at = load_sum(r, t);
    store(exp2(exponent(at, start)), r.from_start + t);
    store(exp2(exponent(end, at)), r.to_end + t);
    const int64_t last = std::min(t / part * part + part, s.q) - 1;
    store(exp2(exponent(same_sum(r, last), at)), r.to_part + t);
  }
  const auto row_at = [&](int64_t t, int64_t i) {
    if (t >= length || i >= head_dim) return hn::Zero(floats);
    return hn::Mul(load_row(x + t * op.x.stride + i, head_dim - i), all(r.d[t]));
  };
  const auto row_of = [](int64_t pair) { return pair / half_step * step + pair % half_step; };
  for (int64_t pair = 0; pair < s.q / 2; ++pair) {
    const int64_t t = row_of(pair), other = t + half_step, next = row_of(pair + 8);
    prefetch_row(x + next * op.x.stride, head_dim);
    prefetch_row(x + (next + half_step) * op.x.stride, head_dim);
    for (int64_t i = 0; i < s.p; i += lanes) {
      const Vec low = row_at(t, i), high = row_at(other, i);
      const int64_t at = (i / group_cols * s.q / 2 + pair) * group_cols + i % group_cols;
      store_words(pair_words(low, high), r.x + at);
      store_words(pair_words(hn::Mul(low, all(r.to_end[t])), hn::Mul(high, all(r.to_end[other]))),
                  r.x_end + at);
    }
  }
}

// y = decay from the start * C S^T, what the state before the block gives.
void carry(const Ssd& op, const CpuContext& context, int64_t length, const Scratch& r) {
  const Sizes s(op);
  for (int64_t col = 0; col < s.p; col += group_cols) {
    uint32_t* pairs = r.state_pairs + col * s.n / 2;
    const auto state = [&](int64_t j, int64_t i) {
      return j < op.state_size ? load(r.state + col * s.n + j * group_cols + i) : hn::Zero(floats);
    };
    for (int64_t j = 0; j < s.n; j += 2)
      for (int64_t i = 0; i < group_cols; i += lanes)
        store_words(pair_words(state(j, i), state(j + 1, i)), pairs + j / 2 * group_cols + i);
  }
  context.bf16->multiply({.a = r.c,
                          .a_row = s.n,
                          .b = reinterpret_cast<const Bf16*>(r.state_pairs),
                          .b_row = 2 * group_cols,
                          .b_group = group_cols * s.n,
                          .c = r.y,
                          .c_row = group_cols,
                          .c_group = group_cols * s.q,
                          .rows = length,
                          .cols = s.p,
                          .depth = s.n,
                          .accumulate = false});
  for (int64_t col = 0; col < s.p; col += group_cols)
    for (int64_t t = 0; t < length; ++t)
      for (int64_t i = 0; i < group_cols; i += lanes) {
        float* y = r.y + col * s.q + t * group_cols + i;
        store(hn::Mul(load(y), all(r.from_start[t])), y);
      }
}

// y += (decay * C B^T) (d X) within the block.
void attend(const Ssd& op, const CpuContext& context, int64_t length, const Scratch& r) {
  const Sizes s(op);
  for (int64_t row = 0; row < length; row += part) {
    const int64_t count = std::min(part, length - row),
                  depth = round_up(row + count, product_depth);
    for (int64_t first = 0; first < row; first += part) {
      const Sum from = same_sum(r, first + part - 1);
      for (int64_t i = 0; i < round_up(count, lanes); i += lanes)
        store(exp2(exponent(load_sum(r, row + i), from)), r.from_part + first + i);
    }
    for (int64_t t = row; t < row + count; ++t) decay_row(r, s, row, t, depth);
    context.bf16->multiply({.a = reinterpret_cast<const Bf16*>(r.decayed),
                            .a_row = step,
                            .a_step = part * step,
                            .b = reinterpret_cast<const Bf16*>(r.x),
                            .b_row = 2 * group_cols,
                            .b_group = group_cols * s.q,
                            .c = r.y + row * group_cols,
                            .c_row = group_cols,
                            .c_group = group_cols * s.q,
                            .rows = count,
                            .cols = s.p,
                            .depth = depth,
                            .accumulate = true});
  }
  (void)op;
}

// Carries the state to the end of the block.
void advance(const Ssd& op, const CpuContext& context, int64_t length, const Scratch& r) {
  const Sizes s(op);
  const Vec decay = all(r.from_start[length - 1]);
  for (int64_t i = 0; i < s.n * s.p; i += lanes)
    store(hn::Mul(load(r.state + i), decay), r.state + i);
  context.bf16->multiply({.a = r.b_turned,
                          .a_row = step,
                          .a_step = step * s.n,
                          .b = reinterpret_cast<const Bf16*>(r.x_end),
                          .b_row = 2 * group_cols,
                          .b_group = group_cols * s.q,
                          .c = r.state,
                          .c_row = group_cols,
                          .c_group = group_cols * s.n,
                          .rows = op.state_size,
                          .cols = s.p,
                          .depth = round_up(length, product_depth),
                          .accumulate = true});
}

// One head through the blocks of a span of `span` positions from `start`.
void head_span(const Ssd& op, const CpuContext& context, int64_t start, int64_t span, int64_t item,
               std::byte* base, int64_t thread) {
  const Sizes s(op);
  const int64_t sequence = item / op.heads, head = item % op.heads;
  const int64_t group = sequence * op.groups + head / (op.heads / op.groups);
  const int64_t rows = op.batch * op.length, head_dim = op.head_dim, n = op.state_size;
  Scratch r = scratch_of(op, base, group, 0, thread);
  float* state =
      context.block<float>(op.state, op.batch * op.heads * head_dim * n) + item * head_dim * n;
  const float skip = static_cast<float>(context.block<Bf16>(op.d_skip, op.heads)[head]);
  bool fresh = op.past + start == 0;
  std::memset(r.turned, 0, static_cast<size_t>(s.p * s.n) * sizeof(float));
  if (!fresh)
    for (int64_t i = 0; i < head_dim; ++i)
      std::memcpy(r.turned + i * s.n, state + i * n, static_cast<size_t>(n) * sizeof(float));
  for (int64_t col = 0; col < s.p; col += group_cols)
    turn_words(reinterpret_cast<const uint32_t*>(r.turned + col * s.n), s.n, group_cols, s.n,
               reinterpret_cast<uint32_t*>(r.state + col * s.n), group_cols);

  context.bf16->begin();
  for (int64_t block = 0; block * op.chunk < span; ++block, fresh = false) {
    r = scratch_of(op, base, group, block, thread);
    const int64_t length = std::min(op.chunk, span - block * op.chunk);
    const int64_t first = sequence * op.length + start + block * op.chunk;
    prepare(op, context, head, first, length, r);
    if (fresh)
      std::memset(r.y, 0, static_cast<size_t>(s.q * s.p) * sizeof(float));
    else
      carry(op, context, length, r);
    attend(op, context, length, r);
    const Bf16* x = context.pointer<Bf16>(op.x, rows, op.heads * head_dim) + first * op.x.stride +
                    head * head_dim;
    Bf16* out = context.pointer<Bf16>(op.out, rows, op.heads * head_dim) + first * op.out.stride +
                head * head_dim;
    for (int64_t t = 0; t < length; ++t) {
      prefetch_row(x + (t + rows_ahead) * op.x.stride, head_dim);
      for (int64_t i = 0; i < head_dim; i += lanes) {
        const Vec input = load_row(x + t * op.x.stride + i, head_dim - i);
        const Vec y = load(r.y + (i / group_cols * s.q + t) * group_cols + i % group_cols);
        store_row(hn::MulAdd(all(skip), input, y), out + t * op.out.stride + i, head_dim - i);
      }
    }
    advance(op, context, length, r);
  }
  context.bf16->end();

  for (int64_t col = 0; col < s.p; col += group_cols)
    turn_words(reinterpret_cast<const uint32_t*>(r.state + col * s.n), group_cols, s.n, group_cols,
               reinterpret_cast<uint32_t*>(r.turned + col * s.n), s.n);
  for (int64_t i = 0; i < head_dim; ++i)
    std::memcpy(state + i * n, r.turned + i * s.n, static_cast<size_t>(n) * sizeof(float));
}

// Tasks of the first two steps of a span: (group, block, part of its rows).
struct PartTask {
  int64_t group, block, row, length;
};
PartTask part_task(const Ssd& op, int64_t span, int64_t item) {
  const int64_t parts = divide_up(Sizes(op).q, part), blocks = divide_up(span, op.chunk);
  const int64_t block = item / parts % blocks;
  return {item / parts / blocks, block, item % parts * part,
          std::min(op.chunk, span - block * op.chunk)};
}

int64_t part_tasks(const Ssd& op, int64_t span) {
  return groups_of(op) * divide_up(span, op.chunk) * divide_up(Sizes(op).q, part);
}

void lay_out_part(const Ssd& op, const CpuContext& context, int64_t start, int64_t span,
                  int64_t item, std::byte* base) {
  const PartTask t = part_task(op, span, item);
  if (t.row < t.length)
    lay_out(op, context, start + t.block * op.chunk, t.length, t.group, t.row,
            scratch_of(op, base, t.group, t.block, 0));
}

void score_part(const Ssd& op, const CpuContext& context, int64_t span, int64_t item,
                std::byte* base) {
  const PartTask t = part_task(op, span, item);
  if (t.row < t.length)
    score(op, context, t.length, t.row, scratch_of(op, base, t.group, t.block, 0));
}

int64_t span_of(const Ssd& op) {
  return Sizes(op).blocks * op.chunk;
}

int64_t all_bytes(const Ssd& op, int64_t threads) {
  const Bytes bytes = bf16_bytes(op);
  return groups_of(op) * Sizes(op).blocks * bytes.shared + threads * bytes.own;
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {

HWY_EXPORT(all_bytes);
HWY_EXPORT(span_of);
HWY_EXPORT(part_tasks);
HWY_EXPORT(lay_out_part);
HWY_EXPORT(score_part);
HWY_EXPORT(head_span);

int64_t bf16_ssd_bytes(const Ssd& op, const CpuContext& context) {
  return HWY_DYNAMIC_DISPATCH(all_bytes)(op, context.threads);
}

void run_bf16_ssd(const Ssd& op, const CpuContext& context) {
  auto* scratch = context.workspace<std::byte>(bf16_ssd_bytes(op, context));
  const int64_t most = HWY_DYNAMIC_DISPATCH(span_of)(op);
  for (int64_t start = 0; start < op.length; start += most) {
    const int64_t span = std::min(most, op.length - start);
    const int64_t parts = HWY_DYNAMIC_DISPATCH(part_tasks)(op, span);
    parallel_items(context.threads, parts, [&](int64_t item, int) {
      HWY_DYNAMIC_DISPATCH(lay_out_part)(op, context, start, span, item, scratch);
    });
    parallel_items(context.threads, parts, [&](int64_t item, int) {
      HWY_DYNAMIC_DISPATCH(score_part)(op, context, span, item, scratch);
    });
    parallel_items(context.threads, op.batch * op.heads, [&](int64_t item, int thread) {
      HWY_DYNAMIC_DISPATCH(head_span)(op, context, start, span, item, scratch, thread);
    });
  }
}

}  // namespace tidemark::cpu
#endif
