// SSD in blocks (ssd.cpp) in bf16, on a unit made for its products (bf16_product.h). Up to 512
// positions of blocks are taken at a time, and a head goes through them one after the other with
// its state turned, S^T [N][P], in scratch: so it is the right side of the carried product and the
// sum of the state's own, whose left side, B^T, is turned once for all heads of a group. The decay
// of scores costs an exponential per pair only on the diagonal of 16 x 16 pieces: below it,
// decay(t, s) = decay(t, r) decay(r, s) with r the last position of s's piece, so both are at most
// 1. A block goes by 32 rows, from the carried product to what is put out, so that they stay in the
// L1 cache. Inputs of products are rounded to bf16, as in mamba_ssm's kernels, but for x, which is
// bf16: its step size goes into the decay. Sums and the state are fp32. Limit: the products on slow
// units; with AMX the vector work around them.
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

constexpr int64_t part = 32;   // rows of a block taken at a time
constexpr int64_t piece = 16;  // positions whose decays are taken one by one

// What heads go through over and over lies in pieces of tiles: columns of P in groups of 16, sums
// over positions in steps of 32. Within such a step positions are paired t with t + 16, on both
// sides of a product, so that two vectors of scores become one of pairs without a shuffle. Of 32
// columns of P the even ones are a group and the odd ones the next, for the same reason.
constexpr int64_t group_cols = product_cols, step = product_depth, half_step = step / 2;

int64_t group_col(int64_t col) {
  return col / step * step + col % 2 * group_cols + col % step / 2;
}

struct Scratch {
  // Shared, by (sequence, group) and block
  Bf16* c;         // [Q][N]
  uint32_t* b;     // [N / 2][Q], pairs along N
  Bf16* b_turned;  // [Q / 32][N][32], in pairs of positions
  float* scores;   // [Q][Q], C B^T on and below the diagonal
  // Of one thread
  uint32_t* x;            // [P / 16][Q / 2][16], in pairs of positions
  uint32_t* x_end;        // d * x decayed to the end of the block
  float* carried;         // [P / 16][part][16], C S^T
  float* y;               // [P / 16][part][16], what the block itself gives
  uint32_t* decayed;      // [Q / 32][part][16], pairs of positions
  float* state;           // [P / 16][N][16]
  uint32_t* state_pairs;  // [P / 16][N / 2][16]
  float* turned;          // [P][N]
  float* d;               // [Q]
  float* sum;             // [Q], log2 of the decay from the start of the piece
  float* from_start;      // [Q], decay from the start of the block
  float* to_end;          // [Q], d times the decay to its end
  float* to_piece;        // [Q], d times the decay to the end of the position's piece
  float* from_piece;      // [Q / piece][part], decay from the end of a piece to the rows at hand
  double* base;           // [Q / piece + 1], log2 of the decay from the start to a piece's
};

// Of a run of the operator; padded.
struct Sizes {
  int64_t q, p, n, blocks;
  explicit Sizes(const Ssd& op)
      : q(round_up(std::min(op.chunk, op.length), product_depth)),
        p(round_up(op.head_dim, step)),
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
  take(own, r->carried, part * s.p);
  take(own, r->y, part * s.p);
  take(own, r->decayed, part * s.q / 2);
  take(own, r->state, s.n * s.p);
  take(own, r->state_pairs, s.n / 2 * s.p);
  take(own, r->turned, s.p * s.n);
  for (float** row : {&r->d, &r->sum, &r->from_start, &r->to_end, &r->to_piece})
    take(own, *row, s.q);
  take(own, r->from_piece, s.q / piece * part);
  take(own, r->base, s.q / piece + 1);
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

// Step sizes of a head's block and what decays, from `length` on by nothing.
void find_decays(const Ssd& op, const CpuContext& context, int64_t head, int64_t first,
                 int64_t length, const Scratch& r) {
  const Sizes s(op);
  const int64_t rows = op.batch * op.length;
  const Bf16* dt = context.pointer<Bf16>(op.dt, rows, op.heads) + first * op.dt.stride + head;
  const float rate =
      -std::exp(static_cast<float>(context.block<Bf16>(op.a_log, op.heads)[head])) * log2_e;
  const float bias =
      op.dt_bias ? static_cast<float>(context.block<Bf16>(op.dt_bias, op.heads)[head]) : 0.0F;
  step_sizes(op, dt, bias, length, s.q, r.d);
  r.base[0] = 0;
  for (int64_t t = 0; t < s.q; t += piece) {
    float sum = 0;
    for (int64_t i = t; i < t + piece; ++i) r.sum[i] = sum += r.d[i] * rate;
    r.base[t / piece + 1] = r.base[t / piece] + static_cast<double>(sum);
  }
  const double end = r.base[s.q / piece];
  for (int64_t t = 0; t < s.q; t += lanes) {
    const int64_t at = t / piece;
    const Vec sum = load(r.sum + t), d = load(r.d + t);
    const auto since = [&](double from) { return all(static_cast<float>(r.base[at] - from)); };
    store(exp2(hn::Add(since(0), sum)), r.from_start + t);
    store(hn::Mul(d, exp2(hn::Neg(hn::Add(since(end), sum)))), r.to_end + t);
    store(hn::Mul(d, exp2(hn::Neg(hn::Add(since(r.base[at + 1]), sum)))), r.to_piece + t);
  }
}

// 32 columns of x at col of the rows [t, t + 32) of a block, even columns before odd ones, in pairs
// of rows i and i + 16: visit(i, even, odd).
template <class Visit>
HWY_INLINE void pair_step(const Bf16* x, int64_t stride, int64_t cols, int64_t rows,
                          const Visit& visit) {
  const Words upper = hn::Set(WordTag(), 0xffff0000u), lower = hn::Set(WordTag(), 0xffffu);
  const auto words = [&](int64_t i, int64_t word) {
    if (i >= rows || 2 * word >= cols) return hn::Zero(WordTag());
    const Bf16* from = x + i * stride + 2 * word;
    if (2 * (word + lanes) <= cols) return load_words(from);
    alignas(64) uint32_t some[lanes] = {};
    std::memcpy(some, from, static_cast<size_t>(cols - 2 * word) * sizeof(Bf16));
    return load_words(some);
  };
  for (int64_t i = 0; i < half_step; ++i)
    for (int64_t word = 0; word < group_cols; word += lanes) {
      const Words low = words(i, word), high = words(i + half_step, word);
      visit(i, word, hn::Or(hn::And(low, lower), hn::ShiftLeft<16>(high)),
            hn::Or(hn::ShiftRight<16>(low), hn::And(high, upper)));
    }
}

// Of a word of pairs the value of the row, and of the one 16 below.
HWY_INLINE Vec first_of(Words pair) {
  return hn::BitCast(floats, hn::ShiftLeft<16>(pair));
}
HWY_INLINE Vec second_of(Words pair) {
  return hn::BitCast(floats, hn::And(pair, hn::Set(WordTag(), 0xffff0000u)));
}

// x of a head's block, and the same decayed to the block's end.
void lay_out_x(const Ssd& op, const Bf16* x, int64_t length, const Scratch& r) {
  const Sizes s(op);
  for (int64_t t = 0; t < s.q; t += step)
    for (int64_t col = 0; col < s.p; col += step) {
      const auto visit = [&](int64_t i, int64_t word, Words even, Words odd) {
        const Vec to_end = all(r.to_end[t + i]), later = all(r.to_end[t + i + half_step]);
        const int64_t at = col * s.q / 2 + (t / 2 + i) * group_cols + word;
        const auto write = [&](Words pair, int64_t to) {
          store_words(pair, r.x + to);
          store_words(pair_words(hn::Mul(first_of(pair), to_end), hn::Mul(second_of(pair), later)),
                      r.x_end + to);
        };
        write(even, at);
        write(odd, at + group_cols * s.q / 2);
      };
      const Bf16* from = x + t * op.x.stride + col;
      for (int64_t i = 0; i < step; ++i)
        prefetch_row(from + (i + step) * op.x.stride, std::min(step, op.head_dim - col));
      pair_step(from, op.x.stride, op.head_dim - col, length - t, visit);
    }
}

// The state in pairs of rows, for the carried product; itself it decays to the end of the block.
// Behind its last row lies what advance() wrote to fill a tile.
void decay_state(const Ssd& op, float decay, const Scratch& r) {
  const Sizes s(op);
  for (int64_t col = 0; col < s.p; col += group_cols) {
    uint32_t* pairs = r.state_pairs + col * s.n / 2;
    float* state = r.state + col * s.n;
    for (int64_t j = 0; j < s.n; j += 2)
      for (int64_t i = 0; i < group_cols; i += lanes) {
        const auto row = [&](int64_t n) {
          float* at = state + n * group_cols + i;
          const Vec value = n < op.state_size ? load(at) : hn::Zero(floats);
          store(hn::Mul(value, all(decay)), at);
          return value;
        };
        const Vec first = row(j), second = row(j + 1);
        store_words(pair_words(first, second), pairs + j / 2 * group_cols + i);
      }
  }
}

// Rows [row, row + part) of scores, decayed and times the step size of their position; zero behind
// the diagonal.
void decay_rows(const Scratch& r, const Sizes& s, int64_t row) {
  for (int64_t i = 0; i < part; i += piece) {
    const int64_t at = (row + i) / piece;
    for (int64_t before = 0; before < at; ++before) {
      const Vec since = all(static_cast<float>(r.base[at] - r.base[before + 1]));
      for (int64_t j = 0; j < piece; j += lanes)
        store(exp2(hn::Add(since, load(r.sum + row + i + j))),
              r.from_piece + before * part + i + j);
    }
  }
  for (int64_t t = row; t < row + part; ++t) {
    const float* scores = r.scores + t * s.q;
    const float* from_piece = r.from_piece + t - row;
    uint32_t* to = r.decayed + (t - row) * half_step;
    const auto below = [&](int64_t j) {
      return hn::Mul(hn::Mul(load(scores + j), load(r.to_piece + j)),
                     all(from_piece[j / piece * part]));
    };
    const auto diagonal = [&](int64_t j) {
      const Vec decay = exp2_to_bf16(hn::Sub(all(r.sum[t]), load(r.sum + j)));
      const auto seen = hn::Lt(hn::Iota(floats, static_cast<float>(j - t)), all(0.5F));
      return hn::IfThenElseZero(seen, hn::Mul(hn::Mul(decay, load(r.d + j)), load(scores + j)));
    };
    for (int64_t i = 0; i < half_step; i += lanes) {
      for (int64_t j = 0; j < row; j += step)
        store_words(pair_words(below(j + i), below(j + half_step + i)), to + j / 2 * part + i);
      const bool first = t < row + half_step;
      store_words(first ? pair_words(diagonal(row + i), hn::Zero(floats))
                        : pair_words(below(row + i), diagonal(row + half_step + i)),
                  to + row / 2 * part + i);
    }
  }
}

// Puts out `count` rows of a block from `row`: what the block gives, what came before it and D x.
void put_out(const Ssd& op, int64_t row, int64_t count, float skip, Bf16* out, const Scratch& r) {
  const Sizes s(op);
  for (int64_t i = 0; i < std::min(half_step, count); ++i)
    for (int64_t col = 0; col < op.head_dim; col += step)
      for (int64_t word = 0; word < group_cols && col + 2 * word < op.head_dim; word += lanes) {
        const auto value = [&](int64_t odd, int64_t below) {
          const int64_t group = col + odd * group_cols;
          const Words pair = load_words(r.x + group * s.q / 2 + (row / 2 + i) * group_cols + word);
          const int64_t at = group * part + (i + below) * group_cols + word;
          const Vec given =
              hn::MulAdd(all(skip), below ? second_of(pair) : first_of(pair), load(r.y + at));
          return hn::MulAdd(all(r.from_start[row + i + below]), load(r.carried + at), given);
        };
        const auto write = [&](int64_t below) {
          Bf16* to = out + (i + below) * op.out.stride + col + 2 * word;
          const Pair both{value(0, below), value(1, below)};
          const int64_t left = op.head_dim - col - 2 * word;
          if (left >= 2 * lanes) return store_pair(both, to);
          alignas(64) Bf16 some[2 * lanes];
          store_pair(both, some);
          std::memcpy(to, some, static_cast<size_t>(left) * sizeof(Bf16));
        };
        write(0);
        if (i + half_step < count) write(half_step);
      }
}

// Adds what a block's positions give to the state, which has decayed to its end.
void advance(const Ssd& op, const CpuContext& context, int64_t length, const Scratch& r) {
  const Sizes s(op);
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

// A head's block of `length` positions from `first` of all rows.
void head_block(const Ssd& op, const CpuContext& context, int64_t head, int64_t first,
                int64_t length, bool fresh, const Scratch& r) {
  const Sizes s(op);
  const int64_t rows = op.batch * op.length, width = op.heads * op.head_dim;
  const Bf16* x =
      context.pointer<Bf16>(op.x, rows, width) + first * op.x.stride + head * op.head_dim;
  Bf16* out =
      context.pointer<Bf16>(op.out, rows, width) + first * op.out.stride + head * op.head_dim;
  const float skip = static_cast<float>(context.block<Bf16>(op.d_skip, op.heads)[head]);
  find_decays(op, context, head, first, length, r);
  lay_out_x(op, x, length, r);
  decay_state(op, r.from_start[s.q - 1], r);
  if (fresh) std::memset(r.carried, 0, static_cast<size_t>(part * s.p) * sizeof(float));
  for (int64_t row = 0; row < length; row += part) {
    const int64_t count = std::min(part, length - row);
    for (int64_t i = 0; i < count; ++i)
      prefetch_to_write(out + (row + i) * op.out.stride, op.head_dim);
    if (!fresh)
      context.bf16->multiply({.a = r.c + row * s.n,
                              .a_row = s.n,
                              .b = reinterpret_cast<const Bf16*>(r.state_pairs),
                              .b_row = 2 * group_cols,
                              .b_group = group_cols * s.n,
                              .c = r.carried,
                              .c_row = group_cols,
                              .c_group = group_cols * part,
                              .rows = count,
                              .cols = s.p,
                              .depth = s.n,
                              .accumulate = false});
    decay_rows(r, s, row);
    context.bf16->multiply({.a = reinterpret_cast<const Bf16*>(r.decayed),
                            .a_row = step,
                            .a_step = part * step,
                            .b = reinterpret_cast<const Bf16*>(r.x),
                            .b_row = 2 * group_cols,
                            .b_group = group_cols * s.q,
                            .c = r.y,
                            .c_row = group_cols,
                            .c_group = group_cols * part,
                            .rows = count,
                            .cols = s.p,
                            .depth = row + part,
                            .accumulate = false});
    put_out(op, row, count, skip, out + row * op.out.stride, r);
  }
  advance(op, context, length, r);
}

// One head through the blocks of a span of `span` positions from `start`.
void head_span(const Ssd& op, const CpuContext& context, int64_t start, int64_t span, int64_t item,
               std::byte* base, int64_t thread) {
  const Sizes s(op);
  const int64_t sequence = item / op.heads, head = item % op.heads;
  const int64_t group = sequence * op.groups + head / (op.heads / op.groups);
  const int64_t head_dim = op.head_dim, n = op.state_size;
  const Scratch r = scratch_of(op, base, group, 0, thread);
  float* state =
      context.block<float>(op.state, op.batch * op.heads * head_dim * n) + item * head_dim * n;
  bool fresh = op.past + start == 0;
  std::memset(r.turned, 0, static_cast<size_t>(s.p * s.n) * sizeof(float));
  const auto row_bytes = static_cast<size_t>(n) * sizeof(float);
  if (!fresh)
    for (int64_t i = 0; i < head_dim; ++i)
      std::memcpy(r.turned + group_col(i) * s.n, state + i * n, row_bytes);
  for (int64_t col = 0; col < s.p; col += group_cols)
    turn_words(reinterpret_cast<const uint32_t*>(r.turned + col * s.n), s.n, group_cols, s.n,
               reinterpret_cast<uint32_t*>(r.state + col * s.n), group_cols);

  context.bf16->begin();
  for (int64_t block = 0; block * op.chunk < span; ++block, fresh = false) {
    const int64_t length = std::min(op.chunk, span - block * op.chunk);
    head_block(op, context, head, sequence * op.length + start + block * op.chunk, length, fresh,
               scratch_of(op, base, group, block, thread));
  }
  context.bf16->end();

  for (int64_t col = 0; col < s.p; col += group_cols)
    turn_words(reinterpret_cast<const uint32_t*>(r.state + col * s.n), group_cols, s.n, group_cols,
               reinterpret_cast<uint32_t*>(r.turned + col * s.n), s.n);
  for (int64_t i = 0; i < head_dim; ++i)
    std::memcpy(state + i * n, r.turned + group_col(i) * s.n, row_bytes);
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
