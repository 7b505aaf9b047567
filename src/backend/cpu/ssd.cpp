// State-space duality of Mamba-2 (arXiv 2405.21060, section 6), per head, in blocks of `chunk`:
//   within:  Y = (C B^T * decay(t, s), s <= t) (d X)     decay(t, s) = exp(a_t - a_s)
//   carried: Y += exp(a_t) C S^T
//   state:   S = exp(a_Q) S + (exp(a_Q - a_t) d X)^T B,  a the running sum of d * A
// C B^T is computed once per group and shared by its heads. Products here are in fp32
// (product-inl.h); bf16 on units made for it is ssd_bf16.cpp. Running sums are kept in two floats:
// their differences matter, not their size. Limit: multiply-adds of the four products; the decay
// costs one exp per (t, s) pair beside P + N/H. The recurrence (decode) reads and writes the state
// once: bound by memory. Work is split over sequences and heads, so at most batch * heads threads
// are busy.
#include "backend/cpu/ssd.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/ssd.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/product-inl.h"
#include "backend/cpu/simd-inl.h"
#include "backend/cpu/ssd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

constexpr int64_t block_rows = 48;  // rows of C B^T that are decayed and used at a time

struct Scratch {
  // Shared, by (sequence, group)
  float* c;         // [Q][N]
  float* b;         // [Q][N]
  float* b_turned;  // [N][Q]
  float* scores;    // [Q][Q], the lower triangle
  // Of one thread
  float* x;             // [Q][P], d * x and then decayed to the end of the block
  float* y;             // [Q][P]
  float* decayed;       // [48][Q]
  float* state;         // [P][N]
  float* state_turned;  // [N][P]
  float* d;             // [Q]
  float* sum;           // [Q], a rounded to fp32 ...
  float* rest;          // [Q], ... and what that lost
};

struct Sizes {
  int64_t q, p, n;  // padded to whole vectors
  explicit Sizes(const Ssd& op)
      : q(round_up(std::min(op.chunk, op.length), vector_floats)),
        p(round_up(op.head_dim, vector_floats)),
        n(round_up(op.state_size, vector_floats)) {}
  int64_t shared() const { return 3 * q * n + q * q; }
  int64_t own() const { return 2 * q * p + block_rows * q + 2 * p * n + 3 * q; }
};

Scratch carve(const Ssd& op, float* base, int64_t group, int64_t thread) {
  const Sizes s(op);
  float* shared = base + group * s.shared();
  float* own = base + op.batch * op.groups * s.shared() + thread * s.own();
  Scratch r{};
  const auto take = [](float*& from, int64_t count) {
    float* at = from;
    from += count;
    return at;
  };
  r.c = take(shared, s.q * s.n);
  r.b = take(shared, s.q * s.n);
  r.b_turned = take(shared, s.n * s.q);
  r.scores = take(shared, s.q * s.q);
  r.x = take(own, s.q * s.p);
  r.y = take(own, s.q * s.p);
  r.decayed = take(own, block_rows * s.q);
  r.state = take(own, s.p * s.n);
  r.state_turned = take(own, s.n * s.p);
  r.d = take(own, s.q);
  r.sum = take(own, s.q);
  r.rest = take(own, s.q);
  return r;
}

int64_t scratch_floats(const Ssd& op, int64_t threads) {
  if (op.form == SsdForm::recurrence) return 0;
  const Sizes s(op);
  return op.batch * op.groups * s.shared() + threads * s.own();
}

// Row `t` of the block at `start` of B and C in fp32, and B turned.
template <class T>
void unpack(const Ssd& op, const CpuContext& context, int64_t start, int64_t item, int64_t length,
            float* base) {
  const int64_t group = item / length, t = item % length, rows = op.batch * op.length;
  const int64_t row = group / op.groups * op.length + start + t;
  const int64_t col = group % op.groups * op.state_size, width = op.groups * op.state_size;
  const Sizes s(op);
  const Scratch r = carve(op, base, group, 0);
  unpack_row(context.pointer<T>(op.c, rows, width) + row * op.c.stride + col, op.state_size,
             r.c + t * s.n);
  unpack_row(context.pointer<T>(op.b, rows, width) + row * op.b.stride + col, op.state_size,
             r.b + t * s.n);
  for (int64_t i = 0; i < op.state_size; ++i) r.b_turned[i * s.q + t] = r.b[t * s.n + i];
}

void ssd_unpack(const Ssd& op, const CpuContext& context, int64_t start, int64_t item,
                int64_t length, float* base) {
  if (context.is_f32(op.b))
    unpack<float>(op, context, start, item, length, base);
  else
    unpack<Bf16>(op, context, start, item, length, base);
}

// C B^T for some rows of a group, up to the diagonal.
void ssd_scores(const Ssd& op, int64_t item, int64_t length, float* base) {
  const int64_t blocks = divide_up(length, block_rows), first = item % blocks * block_rows;
  const int64_t count = std::min(block_rows, length - first);
  const Sizes s(op);
  const Scratch r = carve(op, base, item / blocks, 0);
  multiply({.a = r.c + first * s.n,
            .a_row = s.n,
            .a_depth = 1,
            .b = r.b_turned,
            .b_row = s.q,
            .c = r.scores + first * s.q,
            .c_row = s.q,
            .rows = count,
            .cols = round_up(first + count, lanes),
            .depth = op.state_size,
            .accumulate = false});
}

// The running sum of d * rate rounded to fp32 in sum[t] with what that lost in rest[t], because
// differences of sums matter, not their size.
void running_sums(const float* d, double rate, int64_t padded, float* sum, float* rest) {
  double total = 0;
  for (int64_t t = 0; t < padded; ++t) {
    total += static_cast<double>(d[t]) * rate;
    sum[t] = static_cast<float>(total);
    rest[t] = static_cast<float>(total - sum[t]);
  }
}

template <class T>
void head_block(const Ssd& op, const CpuContext& context, int64_t start, int64_t item,
                int64_t length, float* base, int64_t thread) {
  const int64_t sequence = item / op.heads, head = item % op.heads;
  const int64_t group = sequence * op.groups + head / (op.heads / op.groups);
  const int64_t rows = op.batch * op.length, first = sequence * op.length + start;
  const int64_t head_dim = op.head_dim, n = op.state_size;
  const Sizes s(op);
  const Scratch r = carve(op, base, group, thread);
  const T* x =
      context.pointer<T>(op.x, rows, op.heads * head_dim) + first * op.x.stride + head * head_dim;
  const T* dt = context.pointer<T>(op.dt, rows, op.heads) + first * op.dt.stride + head;
  T* out = context.pointer<T>(op.out, rows, op.heads * head_dim) + first * op.out.stride +
           head * head_dim;
  float* state =
      context.block<float>(op.state, op.batch * op.heads * head_dim * n) + item * head_dim * n;
  const float rate = -std::exp(static_cast<float>(context.block<T>(op.a_log, op.heads)[head]));
  const float skip = static_cast<float>(context.block<T>(op.d_skip, op.heads)[head]);
  const float bias =
      op.dt_bias ? static_cast<float>(context.block<T>(op.dt_bias, op.heads)[head]) : 0.0F;

  step_sizes(op, dt, bias, length, s.q, r.d);
  running_sums(r.d, rate, s.q, r.sum, r.rest);
  for (int64_t t = 0; t < length; ++t)
    for (int64_t i = 0; i < head_dim; i += lanes)
      store(hn::Mul(load_row(x + t * op.x.stride + i, head_dim - i), all(r.d[t])),
            r.x + t * s.p + i);

  // Carried: what the state before this block gives.
  const bool fresh = op.past + start == 0;
  const int64_t width = round_up(head_dim, lanes);
  if (fresh) {
    std::memset(r.state, 0, static_cast<size_t>(head_dim * s.n) * sizeof(float));
    std::memset(r.y, 0, static_cast<size_t>(length * s.p) * sizeof(float));
  } else {
    for (int64_t i = 0; i < head_dim; ++i) unpack_row(state + i * n, n, r.state + i * s.n);
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t i = 0; i < head_dim; ++i) r.state_turned[j * s.p + i] = r.state[i * s.n + j];
      for (int64_t i = head_dim; i < s.p; ++i) r.state_turned[j * s.p + i] = 0;
    }
    multiply({.a = r.c,
              .a_row = s.n,
              .a_depth = 1,
              .b = r.state_turned,
              .b_row = s.p,
              .c = r.y,
              .c_row = s.p,
              .rows = length,
              .cols = width,
              .depth = n,
              .accumulate = false});
    for (int64_t t = 0; t < length; ++t) {
      const Vec decay = exp(all(r.sum[t]));
      for (int64_t i = 0; i < head_dim; i += lanes)
        store(hn::Mul(load(r.y + t * s.p + i), decay), r.y + t * s.p + i);
    }
  }

  // Within the block.
  for (int64_t row = 0; row < length; row += block_rows) {
    const int64_t count = std::min(block_rows, length - row), seen = row + count;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t t = row + i;
      const float* scores = r.scores + t * s.q;
      float* decayed = r.decayed + i * s.q;
      const Vec sum = all(r.sum[t]), rest = all(r.rest[t]);
      for (int64_t j = 0; j <= t; j += lanes) {
        const Vec exponent =
            hn::Add(hn::Sub(sum, load(r.sum + j)), hn::Sub(rest, load(r.rest + j)));
        store(hn::Mul(exp(exponent), load(scores + j)), decayed + j);
      }
      for (int64_t j = t + 1; j < seen; ++j) decayed[j] = 0;
    }
    multiply({.a = r.decayed,
              .a_row = s.q,
              .a_depth = 1,
              .b = r.x,
              .b_row = s.p,
              .c = r.y + row * s.p,
              .c_row = s.p,
              .rows = count,
              .cols = width,
              .depth = seen,
              .accumulate = true});
  }

  for (int64_t t = 0; t < length; ++t) {
    const int64_t last = length - 1;
    const Vec decay = exp(all((r.sum[last] - r.sum[t]) + (r.rest[last] - r.rest[t])));
    for (int64_t i = 0; i < head_dim; i += lanes) {
      const Vec input = load_row(x + t * op.x.stride + i, head_dim - i);
      store_row(hn::MulAdd(all(skip), input, load(r.y + t * s.p + i)), out + t * op.out.stride + i,
                head_dim - i);
      store(hn::Mul(load(r.x + t * s.p + i), decay), r.x + t * s.p + i);
    }
  }

  // State at the end of the block.
  const Vec decay = exp(all(r.sum[length - 1]));
  for (int64_t i = 0; i < head_dim * s.n; i += lanes)
    store(hn::Mul(load(r.state + i), decay), r.state + i);
  multiply({.a = r.x,
            .a_row = 1,
            .a_depth = s.p,
            .b = r.b,
            .b_row = s.n,
            .c = r.state,
            .c_row = s.n,
            .rows = head_dim,
            .cols = round_up(n, lanes),
            .depth = length,
            .accumulate = true});
  for (int64_t i = 0; i < head_dim; ++i)
    std::memcpy(state + i * n, r.state + i * s.n, static_cast<size_t>(n) * sizeof(float));
}

void ssd_head(const Ssd& op, const CpuContext& context, int64_t start, int64_t item, int64_t length,
              float* base, int64_t thread) {
  if (context.is_f32(op.x))
    head_block<float>(op, context, start, item, length, base, thread);
  else
    head_block<Bf16>(op, context, start, item, length, base, thread);
}

template <class T>
void head_recurrence(const Ssd& op, const CpuContext& context, int64_t item) {
  const int64_t sequence = item / op.heads, head = item % op.heads;
  const int64_t group = head / (op.heads / op.groups);
  const int64_t rows = op.batch * op.length, width = op.groups * op.state_size;
  const int64_t head_dim = op.head_dim, n = op.state_size;
  const T* xs = context.pointer<T>(op.x, rows, op.heads * head_dim) + head * head_dim;
  const T* dts = context.pointer<T>(op.dt, rows, op.heads) + head;
  const T* bs = context.pointer<T>(op.b, rows, width) + group * n;
  const T* cs = context.pointer<T>(op.c, rows, width) + group * n;
  T* outs = context.pointer<T>(op.out, rows, op.heads * head_dim) + head * head_dim;
  float* state =
      context.block<float>(op.state, op.batch * op.heads * head_dim * n) + item * head_dim * n;
  const float rate = -std::exp(static_cast<float>(context.block<T>(op.a_log, op.heads)[head]));
  const float skip = static_cast<float>(context.block<T>(op.d_skip, op.heads)[head]);
  const float bias =
      op.dt_bias ? static_cast<float>(context.block<T>(op.dt_bias, op.heads)[head]) : 0.0F;
  for (int64_t t = 0; t < op.length; ++t) {
    const int64_t row = sequence * op.length + t;
    const bool start = op.past + t == 0;
    const T* x = xs + row * op.x.stride;
    const T* b = bs + row * op.b.stride;
    const T* c = cs + row * op.c.stride;
    T* out = outs + row * op.out.stride;
    const Vec d = step_size(op, all(static_cast<float>(dts[row * op.dt.stride]) + bias));
    const Vec decay = exp(hn::Mul(d, all(rate)));
    for (int64_t i = 0; i < head_dim; ++i) {
      float* h = state + i * n;
      const float value = static_cast<float>(x[i]);
      const Vec input = hn::Mul(d, all(value));
      Vec total = hn::Zero(floats);
      for (int64_t j = 0; j < n; j += lanes) {
        const Vec old = start ? hn::Zero(floats) : hn::Mul(decay, load_row(h + j, n - j));
        const Vec next = hn::MulAdd(input, load_row(b + j, n - j), old);
        store_row(next, h + j, n - j);
        total = hn::MulAdd(load_row(c + j, n - j), next, total);
      }
      out[i] = static_cast<T>(sum(total) + skip * value);
    }
  }
}

void ssd_recurrence(const Ssd& op, const CpuContext& context, int64_t item) {
  if (context.is_f32(op.x))
    head_recurrence<float>(op, context, item);
  else
    head_recurrence<Bf16>(op, context, item);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {
HWY_EXPORT(scratch_floats);
HWY_EXPORT(ssd_unpack);
HWY_EXPORT(ssd_scores);
HWY_EXPORT(ssd_head);
HWY_EXPORT(ssd_recurrence);

namespace {

bool on_bf16_unit(const Ssd& op, const CpuContext& context) {
  return op.form == SsdForm::chunked && context.bf16 && !context.is_f32(op.x);
}

}  // namespace

int64_t workspace_bytes(const Ssd& op, const CpuContext& context) {
  if (on_bf16_unit(op, context)) return bf16_ssd_bytes(op, context);
  return HWY_DYNAMIC_DISPATCH(scratch_floats)(op, context.threads) * 4;
}

std::string_view variant(const Ssd& op, const CpuContext& context) {
  if (on_bf16_unit(op, context)) return context.bf16->name;
  return op.form == SsdForm::chunked ? "blocks" : "recurrence";
}

void run(const Ssd& op, const CpuContext& context) {
  if (on_bf16_unit(op, context)) return run_bf16_ssd(op, context);
  const int64_t heads = op.batch * op.heads;
  if (op.form == SsdForm::recurrence) {
    parallel_ranges(context.threads, heads, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t item = begin; item < end; ++item)
        HWY_DYNAMIC_DISPATCH(ssd_recurrence)(op, context, item);
    });
    return;
  }
  auto* scratch = context.workspace<float>(workspace_bytes(op, context));
  const int64_t groups = op.batch * op.groups;
  for (int64_t start = 0; start < op.length; start += op.chunk) {
    const int64_t length = std::min(op.chunk, op.length - start);
    parallel_ranges(context.threads, groups * length, 16, [&](int64_t begin, int64_t end, int) {
      for (int64_t item = begin; item < end; ++item)
        HWY_DYNAMIC_DISPATCH(ssd_unpack)(op, context, start, item, length, scratch);
    });
    parallel_items(context.threads, groups * divide_up(length, 48), [&](int64_t item, int) {
      HWY_DYNAMIC_DISPATCH(ssd_scores)(op, item, length, scratch);
    });
    parallel_items(context.threads, heads, [&](int64_t item, int thread) {
      HWY_DYNAMIC_DISPATCH(ssd_head)(op, context, start, item, length, scratch, thread);
    });
  }
}

}  // namespace tidemark::cpu
#endif
