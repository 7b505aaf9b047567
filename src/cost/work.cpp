#include "cost/work.h"

#include <algorithm>
#include <concepts>

namespace tidemark {
namespace {

struct Context {
  const Plan& plan;
  Cost cost;

  DType dtype(const Operand& o) const { return plan.tensors[static_cast<size_t>(o.tensor)].dtype; }
  double size(const Operand& o) const { return o ? static_cast<double>(size_bytes(dtype(o))) : 0; }
  // Of the whole, `matrix_ops` on matrix units and `cold_bytes` from memory.
  Work split(KernelClass kind, DType dtype, double matrix_ops, double cold_bytes) const {
    const auto ops = static_cast<double>(cost.ops), bytes = static_cast<double>(cost.bytes());
    return {kind, dtype, matrix_ops, 0, ops - matrix_ops, cold_bytes, bytes - cold_bytes, 0};
  }
};

// Rows and columns of the block that one multiprocessor works on: of matrix products as libraries
// have it, of queries as in FlashAttention (arXiv 2307.08691).
constexpr int64_t tile = 128;

double product(std::initializer_list<int64_t> factors) {
  double p = 1;
  for (const int64_t f : factors) p *= static_cast<double>(f);
  return p;
}

Work with_exponentials(Work w, double n) {
  w.special_ops = n;
  w.vector_ops -= n;
  return w;
}

int64_t tiles_of(int64_t length) {
  return (length + tile - 1) / tile;
}

// Rows or queries beyond whole blocks count for what they are: one more is hardly more blocks to
// run, and must not make the others faster because they fill the device better.
double blocks_of_rows(int64_t rows) {
  return std::max(1.0, static_cast<double>(rows) / tile);
}

KernelClass by_rows(int64_t rows, DType dtype) {
  if (rows <= gemv_rows) return KernelClass::gemv;
  return dtype == DType::f32 ? KernelClass::gemm_f32 : KernelClass::gemm;
}

// Operators that only pass over activations, by name: a new one has to say what it is.
template <class T, class... Ops>
concept OneOf = (std::same_as<T, Ops> || ...);
template <OneOf<Add, Norm, GatedNorm, Glu, Activation, RowGate, SoftCap, Route, Combine, Rope,
                SelectLast, Argmax>
              T>
Work work_of(const T&, const Context& c) {
  return c.split(KernelClass::stream, DType::f32, 0, 0);
}

// What a product's operands meet in: weights of 8 bits are widened for activations of 16.
DType product_dtype(const auto& o, const Context& c) {
  return o.scales && !o.int8_x ? c.dtype(o.x) : c.dtype(o.weight);
}

double bytes_per_weight(const auto& o, int64_t width, const Context& c) {
  const int64_t groups = o.scales ? (width + o.group - 1) / o.group : 0;
  return c.size(o.weight) +
         static_cast<double>(groups) / static_cast<double>(width) * c.size(o.scales);
}

Work work_of(const Gemm& o, const Context& c) {
  const DType dtype = product_dtype(o, c);
  Work w =
      c.split(by_rows(o.m, dtype), dtype, 2 * product({o.m, o.n, o.k}),
              product({o.n, o.k}) * bytes_per_weight(o, o.k, c) + product({o.n}) * c.size(o.bias));
  if (w.kind != KernelClass::gemv)
    w.tiles = blocks_of_rows(o.m) * static_cast<double>(tiles_of(o.n));
  return w;
}

Work work_of(const BlockGemm& o, const Context& c) {
  return c.split(
      by_rows(o.m, c.dtype(o.weight)), c.dtype(o.weight), 2 * product({o.m, o.blocks, o.n, o.k}),
      product({o.blocks, o.n, o.k}) * c.size(o.weight) + product({o.blocks, o.n}) * c.size(o.bias));
}

Work work_of(const ExpertGemm& o, const Context& c) {
  const int64_t reached = std::min(o.experts, o.slots);
  const DType dtype = product_dtype(o, c);
  return c.split(by_rows(o.slots / reached, dtype), dtype, 2 * product({o.slots, o.n, o.k}),
                 product({reached, o.n, o.k}) * bytes_per_weight(o, o.k, c));
}

Work work_of(const Attention& o, const Context& c) {
  // cost() counts 2P + 2Pv + 5 per pair, and one division per output.
  const double rows = product({o.batch, o.length, o.heads});
  const auto per_pair = static_cast<double>(2 * o.head_dim + 2 * o.value_dim);
  const double pairs =
      (static_cast<double>(c.cost.ops) - rows * static_cast<double>(o.value_dim)) / (per_pair + 5);
  const double queries = rows * static_cast<double>(o.head_dim) * c.size(o.q);
  Work w = with_exponentials(
      c.split(o.length == 1 ? KernelClass::attention_step : KernelClass::attention, c.dtype(o.q),
              pairs * per_pair, static_cast<double>(c.cost.bytes_read) - queries),
      pairs);
  // Every block of queries walks over its keys by itself; one query's keys are split among blocks.
  if (o.length > 1) w.tiles = product({o.batch, o.heads}) * blocks_of_rows(o.length);
  return w;
}

Work work_of(const Conv1d& o, const Context& c) {
  return c.split(KernelClass::conv, DType::f32, 0,
                 product({o.channels, o.width}) * c.size(o.weight));
}

Work work_of(const SelectiveScan& o, const Context& c) {
  const bool step = o.length == 1;
  const double state = product({o.batch, o.channels, o.state_size}) * c.size(o.state);
  return with_exponentials(c.split(step ? KernelClass::state_step : KernelClass::selective_scan,
                                   DType::f32, 0, state * (o.past > 0 ? 2 : 1)),
                           product({o.batch, o.length, o.channels, o.state_size}));
}

Work work_of(const RgLru& o, const Context& c) {
  const double state = product({o.batch, o.width}) * c.size(o.state);
  return c.split(o.length == 1 ? KernelClass::state_step : KernelClass::selective_scan, DType::f32,
                 0, state * (o.past > 0 ? 2 : 1));
}

// `decays` exponentials, one per head and pair of positions of a block.
Work chunked(SsdForm form, DType dtype, double state, double decays, int64_t past,
             const Context& c) {
  const double cold = state * (past > 0 ? 2 : 1);
  if (form == SsdForm::recurrence) return c.split(KernelClass::state_step, dtype, 0, cold);
  return with_exponentials(
      c.split(KernelClass::ssd, dtype, static_cast<double>(c.cost.ops) - decays, cold), decays);
}

// Pairs of positions at or before one another within blocks of `chunk`.
double pairs_in_blocks(int64_t length, int64_t chunk) {
  const auto triangle = [](int64_t n) { return product({n, n + 1}) / 2; };
  const int64_t whole = length / chunk;
  return static_cast<double>(whole) * triangle(chunk) + triangle(length % chunk);
}

Work work_of(const Ssd& o, const Context& c) {
  return chunked(o.form, c.dtype(o.x),
                 product({o.batch, o.heads, o.head_dim, o.state_size}) * c.size(o.state),
                 product({o.batch, o.heads}) * pairs_in_blocks(o.length, o.chunk), o.past, c);
}

Work work_of(const GatedDelta& o, const Context& c) {
  return chunked(o.form, c.dtype(o.q),
                 product({o.batch, o.value_heads, o.key_dim, o.value_dim}) * c.size(o.state),
                 product({o.batch, o.value_heads}) * pairs_in_blocks(o.length, o.chunk), o.past, c);
}

Work work_of(const KvAppend&, const Context& c) {
  return c.split(KernelClass::stream, DType::f32, 0, static_cast<double>(c.cost.bytes_written));
}

Work work_of(const Embedding& o, const Context& c) {
  return c.split(KernelClass::stream, DType::f32, 0,
                 product({o.batch, o.length, o.width}) * c.size(o.table));
}

}  // namespace

Work operator*(const Work& w, double share) {
  return {w.kind,
          w.dtype,
          w.matrix_ops * share,
          w.special_ops * share,
          w.vector_ops * share,
          w.cold_bytes * share,
          w.warm_bytes * share,
          w.tiles * share};
}

Work& operator+=(Work& sum, const Work& w) {
  sum = {w.kind,
         w.dtype,
         sum.matrix_ops + w.matrix_ops,
         sum.special_ops + w.special_ops,
         sum.vector_ops + w.vector_ops,
         sum.cold_bytes + w.cold_bytes,
         sum.warm_bytes + w.warm_bytes,
         sum.tiles + w.tiles};
  return sum;
}

Work work(const Op& op, const Plan& plan) {
  const Context context{plan, cost(op, plan)};
  return std::visit([&](const auto& o) { return work_of(o, context); }, op);
}

}  // namespace tidemark
