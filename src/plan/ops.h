// THE OP TABLE. One plain struct per operator; beside it (cost.cpp) what it costs and
// (ops.cpp) what it touches; in reference/ its scalar reference; in backend/<b>/ its kernel: a file
// of its name in cpu/, a launch_op of launch.cpp in cuda/. Without cost or kernel nothing builds.
//
// Activations are [rows, width] with rows = B * L, row b * L + t being token t of sequence b.
// Operators with `past` continue a sequence: their token t has position past + t, and at past 0 the
// carried state counts as zero and is not read.
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>
#include <vector>

#include "base/vocab.h"
#include "model/spec.h"

namespace tidemark {

using TensorId = int32_t;
inline constexpr TensorId no_tensor = -1;

// A [rows, width] view of a tensor: element (r, c) at offset + r * stride + c.
struct Operand {
  TensorId tensor = no_tensor;
  int64_t offset = 0;
  int64_t stride = 0;
  explicit operator bool() const { return tensor != no_tensor; }
  bool operator==(const Operand&) const = default;
};

// Columns [from, ...) of an operand.
inline Operand columns_from(Operand operand, int64_t from) {
  operand.offset += from;
  return operand;
}

// Weights in 8 bits: element (n, k) stands for scales[n, k / group] * weight[n, k], with weight i8
// and scales bf16 [N, K / group, rounded up]. With `int8_x`, where a group is a whole row, the
// activations that meet them are rounded row by row, too: the row's scale is max|x| / 127, and x
// becomes the nearest integer to x * (127 / max|x|) in fp32, 0 where max|x| is below 1e-30.
// docs/quantization.md
inline constexpr double least_int8_row = 1e-30;

// out[b*L+t, :] = scale * table[ids[b, past + t], :] (+ positions[past + t, :])
struct Embedding {
  Operand ids, table, out;
  int64_t batch, length, past, width, vocab;
  float scale;
  Operand positions = {};
  Operand scales = {};  // of an i8 table
  int64_t group = 0;
};

// out = x + y; without y a copy.
struct Add {
  Operand x, y, out;
  int64_t rows, width;
};

// Every row is `groups` vectors of `width`; each is normalised on its own.
// rms: x / sqrt(mean(x^2) + eps) * (weight_offset + weight), the last factor only with a weight;
// layer: also minus the mean, plus bias.
struct Norm {
  NormKind kind;
  Operand x, weight, bias, out;  // weight, bias [width]
  int64_t rows, groups, width;
  float eps, weight_offset;
};

// Gated RMS norm of Mamba-2 over `groups` vectors of `width`; weight [groups * width], or [width]
// when the groups share it.
// out = rms(x * silu(z)) * weight, or with norm_before_gate rms(x) * weight * silu(z).
struct GatedNorm {
  Operand x, z, weight, out;
  int64_t rows, groups, width;
  float eps;
  bool norm_before_gate;
  bool shared_weight = false;
};

// out[m, n] (+)= scale * (sum_k x[m, k] * weight[n, k] + bias[n]). `accumulate` is the fused
// residual. out starts past * out_per_past elements further on: logits of all positions, step after
// step.
struct Gemm {
  Operand x, weight, bias, out;
  int64_t m, n, k;
  float scale = 1;
  bool accumulate = false;
  int64_t past = 0, out_per_past = 0;
  Operand scales = {};  // of an i8 weight
  int64_t group = 0;
  bool int8_x = false;
};

// Block-diagonal product: out[m, g*N + j] = sum_i x[m, g*K + i] * weight[g*K + i, j] + bias[g*N +
// j] for every block g. Its weight has inputs as rows.
struct BlockGemm {
  Operand x, weight, bias, out;
  int64_t m, blocks, n, k;
};

// out = act(gate) * up. Where out is the gate, no later operator reads up: a product may give out
// without ever storing either.
struct Glu {
  Act act;
  Operand gate, up, out;
  int64_t rows, width;
};

// out = act(x)
struct Activation {
  Act act;
  Operand x, out;
  int64_t rows, width;
};

// out[r, :] = act(gate[r]) * x[r, :]
struct RowGate {
  Act act;
  Operand gate, x, out;  // gate [rows, 1]
  int64_t rows, width;
};

// x = cap * tanh(x / cap), in place on the rows that a Gemm with the same `past` wrote.
struct SoftCap {
  Operand x;
  int64_t rows, width;
  float cap;
  int64_t past = 0, out_per_past = 0;
};

// Chooses experts: scores p = softmax or sigmoid of the logits; the top_k experts with the largest
// p + bias, of equals the first. With groups, only experts of the top_groups groups whose two best
// sum highest. weights = scale * p, or with `normalize` scale * p / sum of the chosen p. What was
// chosen is laid out expert by expert: slot i of `rows * top_k` belongs to token[i];
// position[r, j] is the slot of token r's j-th choice; expert e owns slots [first[e], first[e+1]).
struct Route {
  RouterScore score;
  Operand logits, bias, weights;   // [rows, E], [E], [rows, top_k], all but bias f32
  Operand token, position, first;  // i32 [rows * top_k, 1], [rows, top_k], [E + 1, 1]
  int64_t rows, experts, top_k, groups, top_groups;
  bool normalize;
  float scale;
};

// Of every slot i of expert e: out[i, :] = weight_e x[token[i], :], or x[i, :] without `token`.
// weight [E * n, k], expert e's rows from e * n.
struct ExpertGemm {
  Operand x, weight, token, first, out;
  int64_t slots, experts, n, k;
  Operand scales = {};  // of an i8 weight
  int64_t group = 0;
  bool int8_x = false;  // a token is rounded for every slot it has
};

// out[r, :] (+)= sum_j weights[r, j] * x[position[r, j], :]
struct Combine {
  Operand x, weights, position, out;
  int64_t rows, top_k, width;
  bool accumulate;
};

// Rotates q and k in place by position; with a cache (full attention) k goes there rotated and v
// along with it. Angle of pair j at position p: p * inv_freq[j]; amplitude scales cos and sin.
struct Rope {
  Operand q, k, v;  // rows of heads * head_dim, kv_heads * head_dim, kv_heads * value_dim
  Operand k_cache, v_cache;
  int64_t batch, length, past, heads, kv_heads, head_dim, value_dim, rotary_dim, capacity;
  std::vector<float> inv_freq;  // [rotary_dim / 2]
  float amplitude;
};

// Copies k, v of this step into the cache [B, Hkv, capacity, P]. The first `sinks` positions have
// the first slots; behind them the cache is a ring: position p lives in slot
// sinks + (p - sinks) % (capacity - sinks), and of a long step only what fits last is kept.
struct KvAppend {
  Operand k, v, k_cache, v_cache;
  int64_t batch, length, past, kv_heads, head_dim, value_dim, capacity;
  int64_t sinks = 0;
};

// Causal grouped-query attention with online softmax. Without a window, keys are cache positions
// 0..past+t. With one, keys of this step come from k, v (already rotated) and earlier ones from the
// ring cache; query position p sees keys in (p - window, p] and those in [0, sinks).
struct Attention {
  Operand q, k, v, k_cache, v_cache, out;
  int64_t batch, length, past, heads, kv_heads, head_dim, value_dim, capacity, window;
  float scale;
  int64_t sinks = 0;
};

// Depthwise causal convolution with carried state [B, C, K-1] (oldest first), bias, optional SiLU.
struct Conv1d {
  Operand x, weight, bias, state, out;  // weight [C, K]
  int64_t batch, length, past, channels, width;
  bool silu;
};

// Mamba-1 selective scan. d = softplus(dt + dt_bias); h = exp(d * A) h + d * B x; y = C h + D x;
// out = y * silu(z). A = -exp(a_log). State [B, D, N] in fp32.
struct SelectiveScan {
  Operand x, dt, b, c, z, a_log, d_skip, dt_bias, state, out;
  int64_t batch, length, past, channels, state_size;
};

enum class SsdForm { chunked, recurrence };

// Mamba-2. d = clamp(softplus(dt + dt_bias)); h = exp(d * A) h + d * x B^T; y = C h + D x.
// chunked: blocks of `chunk` positions as matrix products (arXiv 2405.21060, section 6), state
// carried between them; recurrence: one position at a time. State [B, H, P, N] in fp32.
struct Ssd {
  SsdForm form;
  Operand x, dt, b, c, a_log, d_skip, dt_bias, state, out;
  int64_t batch, length, past, heads, head_dim, groups, state_size, chunk;
  float dt_min, dt_max;  // dt_max 0: unbounded
};

// Gated delta rule. q and k are l2-normalised per head (x / sqrt(sum x^2 + 1e-6)), q also scaled by
// 1/sqrt(Pk); beta = sigmoid(b), g = -exp(a_log) softplus(a + dt_bias). With S the state [Pk, Pv]:
// S = exp(g) S; d = beta (v - k S); S = S + k d^T; out = q S. Key head of value head h:
// h / (Hv / Hk). chunked: blocks of `chunk` positions (arXiv 2406.06484, 2412.06464).
// State [B, Hv, Pk, Pv] in fp32.
struct GatedDelta {
  SsdForm form;
  Operand q, k, v, a, b, a_log, dt_bias, state, out;
  int64_t batch, length, past, key_heads, value_heads, key_dim, value_dim, chunk;
};
inline constexpr double delta_norm_eps = 1e-6;

// RG-LRU (arXiv 2402.19427, section 2.4). i = sigmoid(input_gate), r = sigmoid(recurrent_gate),
// a = exp(-8 r softplus(param)), h = a h + sqrt(1 - a^2) i x, the root being 1 at position 0;
// out = h. State [B, W] in fp32.
struct RgLru {
  Operand x, input_gate, recurrent_gate, param, state, out;
  int64_t batch, length, past, width;
};

// out[b, :] = x[b * length + length - 1, :]
struct SelectLast {
  Operand x, out;
  int64_t batch, length, width;
};

// ids[b, past + length] = argmax_v logits[row(b), v], the first on ties, with
// row(b) = past * rows_per_past + (b + 1) * rows_per_sequence - 1 (rows_per_past as in Gemm).
struct Argmax {
  Operand logits, ids;
  int64_t batch, length, past, vocab, rows_per_sequence, rows_per_past;
};

using Op = std::variant<Embedding, Add, Norm, GatedNorm, Gemm, BlockGemm, Glu, Activation, RowGate,
                        SoftCap, Route, ExpertGemm, Combine, Rope, KvAppend, Attention, Conv1d,
                        SelectiveScan, Ssd, GatedDelta, RgLru, SelectLast, Argmax>;

std::string_view name(const Op&);
Category category(const Op&);

}  // namespace tidemark
