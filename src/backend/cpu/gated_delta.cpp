// Gated delta rule (arXiv 2412.06464), per value head, in blocks of `chunk` positions. With K, Q
// the block's unit keys and queries, G the running sum of g, S the state before:
//   D = (I + L)^-1 diag(beta) (V - diag(e^G) K S)    L_ij = beta_i e^(G_i - G_j) (k_i . k_j), j < i
//   Y = diag(e^G) Q S + (e^(G_i - G_j) (q_i . k_j), j <= i) D
//   S = e^(G_last) S + (diag(e^(G_last - G)) K)^T D
// K K^T and Q K^T are computed once per key head. The triangle is solved in blocks of 16 rows: what
// earlier rows give as a product, the rest row by row. Products use product-inl.h. Running sums are
// kept in two floats: their differences matter, not their size.
// Limit: multiply-adds of the products. The recurrence (decode) takes a head's columns apart, which
// are independent: each pass reads 4 vectors of columns of the state twice, from cache the second
// time, and writes them once: bound by memory.
#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/gated_delta.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/product-inl.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

constexpr int64_t solved_rows = 16;

struct Sizes {
  int64_t c, k, v;  // chunk, key and value width, padded to whole vectors
  explicit Sizes(const GatedDelta& op)
      : c(round_up(std::min(op.chunk, op.length), vector_floats)),
        k(round_up(op.key_dim, vector_floats)),
        v(round_up(op.value_dim, vector_floats)) {}
  int64_t shared() const { return 2 * c * k + k * c + 2 * c * c; }
  int64_t own() const { return 2 * c * v + c * c + c * k + k * v + 3 * c; }
};

struct Scratch {
  // Shared, by (sequence, key head)
  float* q;         // [C][K]
  float* k;         // [C][K]
  float* k_turned;  // [K][C]
  float* kk;        // [C][C], k_i . k_j
  float* qk;        // [C][C], q_i . k_j
  // Of one thread
  float* d;      // [C][V]
  float* y;      // [C][V]
  float* lower;  // [C][C], a decayed triangle
  float* faded;  // [C][K], keys decayed to the end of the block
  float* state;  // [K][V]
  float* beta;   // [C]
  float* sum;    // [C], G rounded to fp32 ...
  float* rest;   // [C], ... and what that lost
};

Scratch carve(const GatedDelta& op, float* base, int64_t key_head, int64_t thread) {
  const Sizes s(op);
  float* shared = base + key_head * s.shared();
  float* own = base + op.batch * op.key_heads * s.shared() + thread * s.own();
  const auto take = [](float*& from, int64_t count) {
    float* at = from;
    from += count;
    return at;
  };
  Scratch r{};
  r.q = take(shared, s.c * s.k);
  r.k = take(shared, s.c * s.k);
  r.k_turned = take(shared, s.k * s.c);
  r.kk = take(shared, s.c * s.c);
  r.qk = take(shared, s.c * s.c);
  r.d = take(own, s.c * s.v);
  r.y = take(own, s.c * s.v);
  r.lower = take(own, s.c * s.c);
  r.faded = take(own, s.c * s.k);
  r.state = take(own, s.k * s.v);
  r.beta = take(own, s.c);
  r.sum = take(own, s.c);
  r.rest = take(own, s.c);
  return r;
}

int64_t scratch_floats(const GatedDelta& op, int64_t threads) {
  const Sizes s(op);
  if (op.form == SsdForm::recurrence) return threads * 2 * s.k;
  return op.batch * op.key_heads * s.shared() + threads * s.own();
}

// A row to fp32, padded with zeros, scaled to length `scale`.
template <class T>
void unpack_unit(const T* from, int64_t width, float scale, float* to) {
  Vec squares = hn::Zero(floats);
  for (int64_t i = 0; i < width; i += lanes) {
    const Vec x = load_row(from + i, width - i);
    squares = hn::MulAdd(x, x, squares);
    store(x, to + i);
  }
  const float factor = scale / std::sqrt(sum(squares) + static_cast<float>(delta_norm_eps));
  for (int64_t i = 0; i < width; i += lanes) store(hn::Mul(load(to + i), all(factor)), to + i);
}

float query_scale(const GatedDelta& op) {
  return 1.0F / std::sqrt(static_cast<float>(op.key_dim));
}

// Unit queries and keys of one (sequence, key head), and their products.
template <class T>
void keys(const GatedDelta& op, const CpuContext& context, int64_t start, int64_t item,
          int64_t length, float* base) {
  const Sizes s(op);
  const Scratch r = carve(op, base, item, 0);
  const int64_t rows = op.batch * op.length, width = op.key_heads * op.key_dim;
  const int64_t row = item / op.key_heads * op.length + start;
  const int64_t col = item % op.key_heads * op.key_dim;
  const T* q = context.pointer<T>(op.q, rows, width) + row * op.q.stride + col;
  const T* k = context.pointer<T>(op.k, rows, width) + row * op.k.stride + col;
  for (int64_t t = 0; t < length; ++t) {
    unpack_unit(q + t * op.q.stride, op.key_dim, query_scale(op), r.q + t * s.k);
    unpack_unit(k + t * op.k.stride, op.key_dim, 1.0F, r.k + t * s.k);
    for (int64_t i = 0; i < op.key_dim; ++i) r.k_turned[i * s.c + t] = r.k[t * s.k + i];
  }
  for (int64_t i = 0; i < op.key_dim; ++i)
    std::fill(r.k_turned + i * s.c + length, r.k_turned + (i + 1) * s.c, 0.0F);
  // Up to the diagonal, in blocks of rows.
  const auto products = [&](const float* left, float* to) {
    for (int64_t row = 0; row < length; row += solved_rows) {
      const int64_t count = std::min(solved_rows, length - row);
      multiply({.a = left + row * s.k,
                .a_row = s.k,
                .a_depth = 1,
                .b = r.k_turned,
                .b_row = s.c,
                .c = to + row * s.c,
                .c_row = s.c,
                .rows = count,
                .cols = round_up(row + count, lanes),
                .depth = op.key_dim,
                .accumulate = false});
    }
  };
  products(r.k, r.kk);
  products(r.q, r.qk);
}

void delta_keys(const GatedDelta& op, const CpuContext& context, int64_t start, int64_t item,
                int64_t length, float* base) {
  if (context.is_f32(op.q))
    keys<float>(op, context, start, item, length, base);
  else
    keys<Bf16>(op, context, start, item, length, base);
}

// g and beta of a value head.
struct Gates {
  float rate, bias;
};
template <class T>
Gates gates_of(const GatedDelta& op, const CpuContext& context, int64_t head) {
  return {-std::exp(static_cast<float>(context.block<T>(op.a_log, op.value_heads)[head])),
          static_cast<float>(context.block<T>(op.dt_bias, op.value_heads)[head])};
}

// to[i][j] = sign * scale_i * e^(G_i - G_j) * from[i][j] for j < i, and for j = i with `diagonal`.
void decay_lower(const Scratch& r, int64_t stride, int64_t length, const float* from,
                 const float* scale, bool diagonal) {
  for (int64_t i = 0; i < length; ++i) {
    const Vec sum = all(r.sum[i]), rest = all(r.rest[i]);
    const Vec factor = all(scale ? -scale[i] : 1.0F);
    float* row = r.lower + i * stride;
    for (int64_t j = 0; j <= i; j += lanes) {
      const Vec exponent = hn::Add(hn::Sub(sum, load(r.sum + j)), hn::Sub(rest, load(r.rest + j)));
      store(hn::Mul(hn::Mul(exp(exponent), factor), load(from + i * stride + j)), row + j);
    }
    const int64_t kept = diagonal ? i + 1 : i;
    std::fill(row + kept, row + stride, 0.0F);
  }
}

template <class T>
void head_block(const GatedDelta& op, const CpuContext& context, int64_t start, int64_t item,
                int64_t length, float* base, int64_t thread) {
  const int64_t sequence = item / op.value_heads, head = item % op.value_heads;
  const int64_t key_head = sequence * op.key_heads + head / (op.value_heads / op.key_heads);
  const int64_t rows = op.batch * op.length, first = sequence * op.length + start;
  const int64_t pk = op.key_dim, pv = op.value_dim;
  const Sizes s(op);
  const Scratch r = carve(op, base, key_head, thread);
  const int64_t width = round_up(pv, lanes);
  const T* v =
      context.pointer<T>(op.v, rows, op.value_heads * pv) + first * op.v.stride + head * pv;
  const T* a = context.pointer<T>(op.a, rows, op.value_heads) + first * op.a.stride + head;
  const T* b = context.pointer<T>(op.b, rows, op.value_heads) + first * op.b.stride + head;
  T* out =
      context.pointer<T>(op.out, rows, op.value_heads * pv) + first * op.out.stride + head * pv;
  float* state =
      context.block<float>(op.state, op.batch * op.value_heads * pk * pv) + item * pk * pv;
  const Gates gates = gates_of<T>(op, context, head);

  for (int64_t t = 0; t < s.c; ++t) {
    const bool inside = t < length;
    r.beta[t] = inside ? static_cast<float>(b[t * op.b.stride]) : 0.0F;
    r.sum[t] = inside ? static_cast<float>(a[t * op.a.stride]) + gates.bias : 0.0F;
  }
  for (int64_t t = 0; t < length; t += lanes) {
    store(sigmoid(load(r.beta + t)), r.beta + t);
    store(softplus(load(r.sum + t)), r.sum + t);
  }
  double total = 0;
  for (int64_t t = 0; t < s.c; ++t) {
    if (t < length) total += static_cast<double>(r.sum[t]) * gates.rate;
    r.sum[t] = static_cast<float>(total);
    r.rest[t] = static_cast<float>(total - r.sum[t]);
  }

  // What the state before this block gives: D = K S and Y = Q S.
  const bool fresh = op.past + start == 0;
  if (fresh) {
    std::fill(r.state, r.state + pk * s.v, 0.0F);
    std::fill(r.d, r.d + length * s.v, 0.0F);
    std::fill(r.y, r.y + length * s.v, 0.0F);
  } else {
    for (int64_t i = 0; i < pk; ++i) unpack_row(state + i * pv, pv, r.state + i * s.v);
    const auto through_state = [&](const float* left, float* to) {
      multiply({.a = left,
                .a_row = s.k,
                .a_depth = 1,
                .b = r.state,
                .b_row = s.v,
                .c = to,
                .c_row = s.v,
                .rows = length,
                .cols = width,
                .depth = pk,
                .accumulate = false});
    };
    through_state(r.k, r.d);
    through_state(r.q, r.y);
  }
  for (int64_t t = 0; t < length; ++t) {
    const Vec decay = exp(all(r.sum[t])), beta = all(r.beta[t]);
    for (int64_t i = 0; i < pv; i += lanes) {
      float* d = r.d + t * s.v + i;
      float* y = r.y + t * s.v + i;
      const Vec value = load_row(v + t * op.v.stride + i, pv - i);
      store(hn::Mul(beta, hn::NegMulAdd(decay, load(d), value)), d);
      store(hn::Mul(decay, load(y)), y);
    }
  }

  // (I + L) D = that; `lower` holds -L.
  decay_lower(r, s.c, length, r.kk, r.beta, false);
  for (int64_t row = 0; row < length; row += solved_rows) {
    const int64_t count = std::min(solved_rows, length - row);
    if (row > 0)
      multiply({.a = r.lower + row * s.c,
                .a_row = s.c,
                .a_depth = 1,
                .b = r.d,
                .b_row = s.v,
                .c = r.d + row * s.v,
                .c_row = s.v,
                .rows = count,
                .cols = width,
                .depth = row,
                .accumulate = true});
    for (int64_t i = row + 1; i < row + count; ++i)
      for (int64_t col = 0; col < width; col += lanes) {
        Vec d = load(r.d + i * s.v + col);
        for (int64_t j = row; j < i; ++j)
          d = hn::MulAdd(all(r.lower[i * s.c + j]), load(r.d + j * s.v + col), d);
        store(d, r.d + i * s.v + col);
      }
  }

  decay_lower(r, s.c, length, r.qk, nullptr, true);
  for (int64_t row = 0; row < length; row += solved_rows) {
    const int64_t count = std::min(solved_rows, length - row);
    multiply({.a = r.lower + row * s.c,
              .a_row = s.c,
              .a_depth = 1,
              .b = r.d,
              .b_row = s.v,
              .c = r.y + row * s.v,
              .c_row = s.v,
              .rows = count,
              .cols = width,
              .depth = row + count,
              .accumulate = true});
  }
  for (int64_t t = 0; t < length; ++t)
    for (int64_t i = 0; i < pv; i += lanes)
      store_row(load(r.y + t * s.v + i), out + t * op.out.stride + i, pv - i);

  // State at the end of the block.
  const int64_t last = length - 1;
  for (int64_t t = 0; t < length; ++t) {
    const Vec decay = exp(all((r.sum[last] - r.sum[t]) + (r.rest[last] - r.rest[t])));
    for (int64_t i = 0; i < pk; i += lanes)
      store(hn::Mul(load(r.k + t * s.k + i), decay), r.faded + t * s.k + i);
  }
  const Vec decay = exp(all(r.sum[last]));
  for (int64_t i = 0; i < pk * s.v; i += lanes)
    store(hn::Mul(load(r.state + i), decay), r.state + i);
  multiply({.a = r.faded,
            .a_row = 1,
            .a_depth = s.k,
            .b = r.d,
            .b_row = s.v,
            .c = r.state,
            .c_row = s.v,
            .rows = pk,
            .cols = width,
            .depth = length,
            .accumulate = true});
  for (int64_t i = 0; i < pk; ++i)
    std::memcpy(state + i * pv, r.state + i * s.v, static_cast<size_t>(pv) * sizeof(float));
}

void delta_head(const GatedDelta& op, const CpuContext& context, int64_t start, int64_t item,
                int64_t length, float* base, int64_t thread) {
  if (context.is_f32(op.v))
    head_block<float>(op, context, start, item, length, base, thread);
  else
    head_block<Bf16>(op, context, start, item, length, base, thread);
}

// Columns [col, col + width) of one head through all positions. scratch: q [K], k [K].
template <int vectors, class T>
void head_columns(const GatedDelta& op, const CpuContext& context, int64_t item, int64_t col,
                  float* scratch) {
  const int64_t sequence = item / op.value_heads, head = item % op.value_heads;
  const int64_t key_head = head / (op.value_heads / op.key_heads);
  const int64_t rows = op.batch * op.length, pk = op.key_dim, pv = op.value_dim;
  const T* qs = context.pointer<T>(op.q, rows, op.key_heads * pk) + key_head * pk;
  const T* ks = context.pointer<T>(op.k, rows, op.key_heads * pk) + key_head * pk;
  const T* vs = context.pointer<T>(op.v, rows, op.value_heads * pv) + head * pv + col;
  const T* as = context.pointer<T>(op.a, rows, op.value_heads) + head;
  const T* bs = context.pointer<T>(op.b, rows, op.value_heads) + head;
  T* outs = context.pointer<T>(op.out, rows, op.value_heads * pv) + head * pv + col;
  float* state =
      context.block<float>(op.state, op.batch * op.value_heads * pk * pv) + item * pk * pv + col;
  const Gates gates = gates_of<T>(op, context, head);
  float* q = scratch;
  float* k = q + round_up(pk, vector_floats);
  const int64_t width = pv - col;
  const auto part = [&](auto* row, int j) {
    return width > j * lanes ? load_row(row + j * lanes, width - j * lanes) : hn::Zero(floats);
  };
  const auto keep = [&](Vec value, auto* row, int j) {
    if (width > j * lanes) store_row(value, row + j * lanes, width - j * lanes);
  };
  for (int64_t t = 0; t < op.length; ++t) {
    const int64_t row = sequence * op.length + t;
    const bool start = op.past + t == 0;
    unpack_unit(qs + row * op.q.stride, pk, query_scale(op), q);
    unpack_unit(ks + row * op.k.stride, pk, 1.0F, k);
    const Vec g = hn::Mul(softplus(all(static_cast<float>(as[row * op.a.stride]) + gates.bias)),
                          all(gates.rate));
    const Vec decay = exp(g), beta = sigmoid(all(static_cast<float>(bs[row * op.b.stride])));
    Vec seen[vectors], carried[vectors];
    Vec match = hn::Zero(floats);
    for (int j = 0; j < vectors; ++j) seen[j] = carried[j] = hn::Zero(floats);
    for (int64_t i = 0; i < pk; i += lanes) match = hn::MulAdd(load(q + i), load(k + i), match);
    if (!start)
      for (int64_t i = 0; i < pk; ++i) {
        const Vec key = all(k[i]), query = all(q[i]);
#pragma GCC unroll 4
        for (int j = 0; j < vectors; ++j) {
          const Vec h = part(state + i * pv, j);
          seen[j] = hn::MulAdd(key, h, seen[j]);
          carried[j] = hn::MulAdd(query, h, carried[j]);
        }
      }
    // q S after the update is e^g (q S) + (q . k) d.
    const Vec weight = all(sum(match));
    Vec delta[vectors];
    for (int j = 0; j < vectors; ++j) {
      delta[j] = hn::Mul(beta, hn::NegMulAdd(decay, seen[j], part(vs + row * op.v.stride, j)));
      keep(hn::MulAdd(weight, delta[j], hn::Mul(decay, carried[j])), outs + row * op.out.stride, j);
    }
    for (int64_t i = 0; i < pk; ++i) {
      const Vec key = all(k[i]);
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j) {
        const Vec old = start ? hn::Zero(floats) : hn::Mul(decay, part(state + i * pv, j));
        keep(hn::MulAdd(key, delta[j], old), state + i * pv, j);
      }
    }
  }
}

constexpr int column_vectors = HWY_TARGET == HWY_AVX2 ? 2 : 4;

int64_t column_tiles(const GatedDelta& op) {
  return divide_up(op.value_dim, column_vectors * lanes);
}

void delta_recurrence(const GatedDelta& op, const CpuContext& context, int64_t item,
                      float* scratch) {
  const int64_t tiles = column_tiles(op), col = item % tiles * column_vectors * lanes;
  if (context.is_f32(op.v))
    head_columns<column_vectors, float>(op, context, item / tiles, col, scratch);
  else
    head_columns<column_vectors, Bf16>(op, context, item / tiles, col, scratch);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {
HWY_EXPORT(scratch_floats);
HWY_EXPORT(delta_keys);
HWY_EXPORT(delta_head);
HWY_EXPORT(column_tiles);
HWY_EXPORT(delta_recurrence);

int64_t workspace_bytes(const GatedDelta& op, const CpuContext& context) {
  return HWY_DYNAMIC_DISPATCH(scratch_floats)(op, context.threads) * 4;
}

void run(const GatedDelta& op, const CpuContext& context) {
  auto* scratch = context.workspace<float>(workspace_bytes(op, context));
  const int64_t heads = op.batch * op.value_heads;
  if (op.form == SsdForm::recurrence) {
    const int64_t tiles = HWY_DYNAMIC_DISPATCH(column_tiles)(op);
    const int64_t own = 2 * round_up(op.key_dim, vector_floats);
    parallel_ranges(context.threads, heads * tiles, 1, [&](int64_t begin, int64_t end, int thread) {
      for (int64_t item = begin; item < end; ++item)
        HWY_DYNAMIC_DISPATCH(delta_recurrence)(op, context, item, scratch + thread * own);
    });
    return;
  }
  for (int64_t start = 0; start < op.length; start += op.chunk) {
    const int64_t length = std::min(op.chunk, op.length - start);
    parallel_items(context.threads, op.batch * op.key_heads, [&](int64_t item, int) {
      HWY_DYNAMIC_DISPATCH(delta_keys)(op, context, start, item, length, scratch);
    });
    parallel_items(context.threads, heads, [&](int64_t item, int thread) {
      HWY_DYNAMIC_DISPATCH(delta_head)(op, context, start, item, length, scratch, thread);
    });
  }
}

}  // namespace tidemark::cpu
#endif
