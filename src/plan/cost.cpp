// What each operator costs. The counts follow docs/measuring.md and are held equal to what the
// scalar references in reference/ really execute (cost_test.cpp).
#include <algorithm>
#include <limits>

#include "plan/plan.h"

namespace tidemark {
namespace {

int64_t act_ops(Act act) {
  switch (act) {
    case Act::silu:
      return 3;  // x / (1 + exp(-x))
    case Act::gelu:
      return 5;  // 0.5 x (1 + erf(x / sqrt 2))
    case Act::gelu_tanh:
      return 9;  // 0.5 x (1 + tanh(c (x + 0.044715 x^3)))
    case Act::relu2:
      return 2;
    case Act::sigmoid:
      return 3;
    case Act::identity:
      return 0;
  }
  return 0;
}
constexpr int64_t silu_ops = 3;
constexpr int64_t softplus_ops = 4;  // max(x, 0) + log1p(exp(-|x|))

struct Sizes {
  const Plan& plan;
  int64_t operator()(const Operand& operand) const {
    return operand ? tidemark::size_bytes(plan.tensors[static_cast<size_t>(operand.tensor)].dtype)
                   : 0;
  }
};

// Rounding a row to 8 bits: its largest element, whether that is too small, the scale and its
// inverse; a product per element.
int64_t int8_row_ops(int64_t width) {
  return 2 * width + 3;
}
// Scales of a row of an 8-bit weight.
int64_t groups_of(const auto& o, int64_t width) {
  return o.scales ? (width + o.group - 1) / o.group : 0;
}
int64_t rms_ops(int64_t width) {
  return 4 * width + 4;
}
Count triangle(Count n) {
  return n * (n + 1) / 2;
}

// Sum over t in [0, length) of min(past + t + 1, window); window 0: unbounded.
Count visible_pairs(int64_t past, int64_t length, int64_t window) {
  const int64_t last = past + length;
  if (window == 0) return triangle(last) - triangle(past);
  const int64_t full_from = std::clamp(window, past, last);  // visible count grows until here
  return triangle(full_from) - triangle(past) + Count{last - full_from} * window;
}

// Of a window: the keys among the first `sinks` that the window itself has left behind.
Count pairs_with_sinks(int64_t past, int64_t length, int64_t window, int64_t sinks) {
  if (window == 0 || sinks == 0) return 0;
  const int64_t from = std::max<int64_t>(0, past - window);
  return visible_pairs(from, std::max<int64_t>(0, past + length - window) - from, sinks);
}

Cost cost_of(const Embedding& o, Sizes size) {
  const Count rows = Count{o.batch} * o.length, elements = rows * o.width;
  const int64_t per_element =
      (o.scales ? 1 : 0) + (o.scale == 1.0F ? 0 : 1) + (o.positions ? 1 : 0);
  return {elements * per_element,
          rows * (size(o.ids) + groups_of(o, o.width) * size(o.scales)) + elements * size(o.table) +
              o.length * o.width * size(o.positions),
          elements * size(o.out)};
}

Cost cost_of(const Add& o, Sizes size) {
  const Count elements = Count{o.rows} * o.width;
  return {o.y ? elements : 0, elements * (size(o.x) + size(o.y)), elements * size(o.out)};
}

Cost cost_of(const Norm& o, Sizes size) {
  const Count vectors = Count{o.rows} * o.groups, elements = vectors * o.width;
  const int64_t per_vector = o.kind == NormKind::rms ? rms_ops(o.width) - (o.weight ? 0 : o.width) +
                                                           (o.weight_offset == 0.0F ? 0 : o.width)
                                                     : 8 * o.width + 5;
  return {vectors * per_vector, elements * size(o.x) + o.width * (size(o.weight) + size(o.bias)),
          elements * size(o.out)};
}

Cost cost_of(const GatedNorm& o, Sizes size) {
  const Count vectors = Count{o.rows} * o.groups, elements = vectors * o.width;
  return {vectors * (rms_ops(o.width) + (silu_ops + 1) * o.width),
          elements * (size(o.x) + size(o.z)) +
              (o.shared_weight ? 1 : o.groups) * o.width * size(o.weight),
          elements * size(o.out)};
}

Cost cost_of(const Gemm& o, Sizes size) {
  const Count out = Count{o.m} * o.n;
  const int64_t groups = groups_of(o, o.k);
  const int64_t extra = (o.bias ? 1 : 0) + (o.scale == 1.0F ? 0 : 1) + (o.accumulate ? 1 : 0) +
                        2 * groups + (o.int8_x ? 1 : 0);
  return {2 * out * o.k + out * extra + (o.int8_x ? Count{o.m} * int8_row_ops(o.k) : 0),
          Count{o.m} * o.k * size(o.x) +
              o.n * (o.k * size(o.weight) + groups * size(o.scales) + size(o.bias)) +
              (o.accumulate ? out * size(o.out) : 0),
          out * size(o.out)};
}

Cost cost_of(const BlockGemm& o, Sizes size) {
  const Count out = Count{o.m} * o.blocks * o.n;
  return {2 * out * o.k + (o.bias ? out : 0),
          Count{o.m} * o.blocks * o.k * size(o.x) +
              o.blocks * o.n * (o.k * size(o.weight) + size(o.bias)),
          out * size(o.out)};
}

Cost cost_of(const Glu& o, Sizes size) {
  const Count elements = Count{o.rows} * o.width;
  return {elements * (act_ops(o.act) + 1), elements * (size(o.gate) + size(o.up)),
          elements * size(o.out)};
}

Cost cost_of(const Activation& o, Sizes size) {
  const Count elements = Count{o.rows} * o.width;
  return {elements * act_ops(o.act), elements * size(o.x), elements * size(o.out)};
}

Cost cost_of(const RowGate& o, Sizes size) {
  const Count elements = Count{o.rows} * o.width;
  return {Count{o.rows} * act_ops(o.act) + elements,
          Count{o.rows} * size(o.gate) + elements * size(o.x), elements * size(o.out)};
}

Cost cost_of(const SoftCap& o, Sizes size) {
  const Count elements = Count{o.rows} * o.width;
  return {3 * elements, elements * size(o.x), elements * size(o.x)};
}

Cost cost_of(const Route& o, Sizes size) {
  const Count slots = Count{o.rows} * o.top_k;
  // The best of what is left, top times over `of` candidates.
  auto select = [](int64_t top, int64_t of) { return top * of - top * (top - 1) / 2; };
  int64_t per_row = o.score == RouterScore::softmax ? 5 * o.experts : 3 * o.experts;
  if (o.bias) per_row += o.experts;
  if (o.groups > 1) {
    const int64_t members = o.experts / o.groups, best = std::min<int64_t>(2, members);
    per_row += o.groups * (select(best, members) + best) + select(o.top_groups, o.groups) +
               select(o.top_k, o.top_groups * members);
  } else {
    per_row += select(o.top_k, o.experts);
  }
  if (o.normalize) per_row += 2 * o.top_k;
  if (o.scale != 1.0F) per_row += o.top_k;
  return {Count{o.rows} * per_row,
          Count{o.rows} * o.experts * size(o.logits) + o.experts * size(o.bias),
          slots * (size(o.weights) + size(o.token) + size(o.position)) +
              (o.experts + 1) * size(o.first)};
}

// Which experts are read depends on the tokens; counted are as many as the slots can reach.
Cost cost_of(const ExpertGemm& o, Sizes size) {
  const int64_t touched_experts = std::min(o.experts, o.slots);
  const Count out = Count{o.slots} * o.n;
  const int64_t groups = groups_of(o, o.k), extra = 2 * groups + (o.int8_x ? 1 : 0);
  return {2 * out * o.k + out * extra + (o.int8_x ? Count{o.slots} * int8_row_ops(o.k) : 0),
          Count{o.slots} * (o.k * size(o.x) + size(o.token)) + (o.experts + 1) * size(o.first) +
              touched_experts * o.n * (o.k * size(o.weight) + groups * size(o.scales)),
          out * size(o.out)};
}

Cost cost_of(const Combine& o, Sizes size) {
  const Count out = Count{o.rows} * o.width, slots = Count{o.rows} * o.top_k;
  return {2 * slots * o.width + (o.accumulate ? out : 0),
          slots * (o.width * size(o.x) + size(o.weights) + size(o.position)) +
              (o.accumulate ? out * size(o.out) : 0),
          out * size(o.out)};
}

Cost cost_of(const Rope& o, Sizes size) {
  const Count rows = Count{o.batch} * o.length;
  const int64_t pairs = o.rotary_dim / 2;
  const int64_t k_elements = o.kv_heads * o.head_dim, v_elements = o.kv_heads * o.value_dim;
  const int64_t rotated = (o.heads + (o.k ? o.kv_heads : 0)) * o.rotary_dim;
  Cost c;
  c.ops = rows * pairs * (3 + (o.amplitude == 1.0F ? 0 : 2)) + rows * rotated / 2 * 6;
  c.bytes_read = rows * rotated * size(o.q);
  c.bytes_written = c.bytes_read;
  if (o.k_cache) {
    // k beyond the rotated part is only copied; k and v are read once and written to the cache.
    c.bytes_read +=
        rows * (o.kv_heads * (o.head_dim - o.rotary_dim) * size(o.k) + v_elements * size(o.v));
    c.bytes_written += rows * (k_elements * size(o.k_cache) + v_elements * size(o.v_cache));
  }
  return c;
}

Cost cost_of(const KvAppend& o, Sizes size) {
  const int64_t kept =
      std::clamp(o.sinks - o.past, int64_t{0}, o.length) + std::min(o.length, o.capacity - o.sinks);
  const Count rows = Count{o.batch} * std::min(o.length, kept);
  const int64_t k = o.kv_heads * o.head_dim, v = o.kv_heads * o.value_dim;
  return {0, rows * (k * size(o.k) + v * size(o.v)),
          rows * (k * size(o.k_cache) + v * size(o.v_cache))};
}

Cost cost_of(const Attention& o, Sizes size) {
  const Count seen = visible_pairs(o.past, o.length, o.window) +
                     pairs_with_sinks(o.past, o.length, o.window, o.sinks);
  const Count pairs = Count{o.batch} * o.heads * seen;
  const Count rows = Count{o.batch} * o.length;
  Cost c;
  // scores 2P + scale, max, subtract, exp, sum, weighted values 2Pv; then one division by the sum.
  c.ops = pairs * (2 * o.head_dim + 2 * o.value_dim + 5) + rows * o.heads * o.value_dim;
  const int64_t beyond = std::max<int64_t>(0, o.past - (o.window - 1));
  const int64_t cached = o.window == 0 ? o.past + o.length
                                       : std::min(o.past, o.window - 1) + std::min(o.sinks, beyond);
  c.bytes_read = rows * o.heads * o.head_dim * size(o.q) +
                 Count{o.batch} * o.kv_heads * cached *
                     (o.head_dim * size(o.k_cache) + o.value_dim * size(o.v_cache));
  if (o.window != 0)
    c.bytes_read += rows * o.kv_heads * (o.head_dim * size(o.k) + o.value_dim * size(o.v));
  c.bytes_written = rows * o.heads * o.value_dim * size(o.out);
  return c;
}

Cost cost_of(const Conv1d& o, Sizes size) {
  const Count elements = Count{o.batch} * o.length * o.channels;
  const Count state = Count{o.batch} * o.channels * (o.width - 1) * size(o.state);
  return {elements * (2 * o.width + (o.silu ? silu_ops : 0)),
          elements * size(o.x) + o.channels * (o.width * size(o.weight) + size(o.bias)) +
              (o.past > 0 ? state : 0),
          elements * size(o.out) + state};
}

Cost cost_of(const SelectiveScan& o, Sizes size) {
  const Count rows = Count{o.batch} * o.length, elements = rows * o.channels;
  const Count state = Count{o.batch} * o.channels * o.state_size * size(o.state);
  Cost c;
  // per element: dt + bias, softplus, d * x, 7 per state, D * x + y, y * silu(z); A = exp once.
  c.ops = elements * (1 + softplus_ops + 1 + 7 * o.state_size + 2 + silu_ops + 1) +
          o.channels * o.state_size;
  c.bytes_read = elements * (size(o.x) + size(o.dt) + size(o.z)) +
                 rows * o.state_size * (size(o.b) + size(o.c)) +
                 o.channels * (o.state_size * size(o.a_log) + size(o.d_skip) + size(o.dt_bias)) +
                 (o.past > 0 ? state : 0);
  c.bytes_written = elements * size(o.out) + state;
  return c;
}

Cost cost_of(const Ssd& o, Sizes size) {
  const Count rows = Count{o.batch} * o.length;
  const int64_t p = o.head_dim, n = o.state_size;
  const Count state = Count{o.batch} * o.heads * p * n * size(o.state);
  const int64_t dt_ops = 1 + softplus_ops + (o.dt_min > 0.0F || o.dt_max > 0.0F ? 2 : 0);
  Cost c;
  if (o.form == SsdForm::recurrence) {
    // d, d * A, exp; per p: d * x, D * x + y; per (p, n): decay, outer product, add, C h.
    c.ops = rows * o.heads * (dt_ops + 2 + p * (3 + 5 * n));
  } else {
    auto block = [&](int64_t q) {
      const Count pairs = triangle(q);
      const Count per_head = q * (dt_ops + 2 + p)            // d, d A, its running sum; d x
                             + pairs * (3 + 2 * p)           // exp(a_i - a_j) (C B^T) times d x
                             + q * (1 + p * (2 * n + 2))     // the carried state's share of y
                             + q * 2 * p                     // D x
                             + 1 + p * n                     // decay of the state over the block
                             + q * (2 + p + 2 * p * n);      // the block's share of the state
      return o.heads * per_head + o.groups * pairs * 2 * n;  // C B^T once per group
    };
    const int64_t whole = o.length / o.chunk, rest = o.length % o.chunk;
    c.ops = o.batch * (whole * block(o.chunk) + (rest > 0 ? block(rest) : 0));
  }
  c.ops += o.heads;  // A = -exp(a_log)
  c.bytes_read = rows * (o.heads * p * size(o.x) + o.heads * size(o.dt) +
                         o.groups * n * (size(o.b) + size(o.c))) +
                 o.heads * (size(o.a_log) + size(o.d_skip) + size(o.dt_bias)) +
                 (o.past > 0 ? state : 0);
  c.bytes_written = rows * o.heads * p * size(o.out) + state;
  return c;
}

Cost cost_of(const GatedDelta& o, Sizes size) {
  const Count rows = Count{o.batch} * o.length;
  const int64_t pk = o.key_dim, pv = o.value_dim;
  const Count state = Count{o.batch} * o.value_heads * pk * pv * size(o.state);
  const int64_t norm_ops = 2 * (3 * pk + 3) + 1;      // of q and k, q's scale
  const int64_t gate_ops = 3 + 1 + softplus_ops + 1;  // beta; g
  Cost c;
  c.ops = rows * o.key_heads * norm_ops + rows * o.value_heads * gate_ops;
  if (o.form == SsdForm::recurrence) {
    // decay of S, k S, the delta, its outer product with k, q S
    c.ops += rows * o.value_heads * (1 + pk * pv + 2 * pk * pv + 2 * pv + 4 * pk * pv);
  } else {
    auto block = [&](int64_t q) {
      const Count pairs = triangle(q), below = pairs - q;
      const Count per_head = q                              // running sum of g
                             + below * 2                    // exp(g_i - g_j)
                             + q * (1 + 2 * pk * pv)        // exp(g_i); k S
                             + q * 3 * pv                   // beta (v - decayed k S)
                             + below * (2 + 2 * pv)         // minus what earlier deltas gave
                             + q * (2 * pk * pv + pv)       // decayed q S
                             + below * 1 + pairs * 2 * pv   // (q k^T) decayed, times the deltas
                             + 1 + pk * pv                  // decay of S over the block
                             + q * (2 + pv + 2 * pk * pv);  // the block's share of S
      return o.value_heads * per_head + o.key_heads * 2 * pk * (pairs + below);  // q k^T, k k^T
    };
    const int64_t whole = o.length / o.chunk, rest = o.length % o.chunk;
    c.ops += o.batch * (whole * block(o.chunk) + (rest > 0 ? block(rest) : 0));
  }
  c.ops += o.value_heads;  // exp(a_log)
  c.bytes_read = rows * (o.key_heads * pk * (size(o.q) + size(o.k)) +
                         o.value_heads * (pv * size(o.v) + size(o.a) + size(o.b))) +
                 o.value_heads * (size(o.a_log) + size(o.dt_bias)) + (o.past > 0 ? state : 0);
  c.bytes_written = rows * o.value_heads * pv * size(o.out) + state;
  return c;
}

Cost cost_of(const RgLru& o, Sizes size) {
  const Count elements = Count{o.batch} * o.length * o.width;
  const Count state = Count{o.batch} * o.width * size(o.state);
  // two sigmoids, log a and a, a^2, sqrt(1 - a^2), its product with i x, the update
  return {elements * (6 + 2 + 2 + 2 + 2 + 2) + o.width * (softplus_ops + 1),
          elements * (size(o.x) + size(o.input_gate) + size(o.recurrent_gate)) +
              o.width * size(o.param) + (o.past > 0 ? state : 0),
          elements * size(o.out) + state};
}

Cost cost_of(const SelectLast& o, Sizes size) {
  return {0, Count{o.batch} * o.width * size(o.x), Count{o.batch} * o.width * size(o.out)};
}

Cost cost_of(const Argmax& o, Sizes size) {
  return {Count{o.batch} * o.vocab, Count{o.batch} * o.vocab * size(o.logits),
          Count{o.batch} * size(o.ids)};
}

}  // namespace

int64_t saturated(Count count) {
  constexpr int64_t most = std::numeric_limits<int64_t>::max();
  return count < most ? static_cast<int64_t>(count) : most;
}

Cost cost(const Op& op, const Plan& plan) {
  return std::visit([&](const auto& o) { return cost_of(o, Sizes{plan}); }, op);
}

}  // namespace tidemark
