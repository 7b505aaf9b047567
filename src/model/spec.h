// ModelSpec: what a model is, in dimensions, generic blocks and weight names.
// It knows no operators and no devices. families/*.cpp make it from a config; plan/ reads it.
// Shape letters: B batch, L tokens of a step, D width, H heads, P head width, G groups, N state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/vocab.h"

namespace tidemark {

using WeightId = int32_t;
inline constexpr WeightId no_weight = -1;

// The distribution synthetic weights are drawn from, so that activations keep a realistic scale.
enum class Draw { linear, embedding, norm_weight, norm_offset, bias, a_log, d_skip, dt_bias };

// Rows [row_begin, row_begin + rows) of one checkpoint tensor, whose leading dimensions are
// flattened into rows and whose last is `cols` (a 1-D tensor has cols 1). `scale` folds a scalar
// multiplier of the architecture (Falcon-H1) into the weight at load time.
struct WeightPart {
  std::vector<std::string> names;   // spellings of the tensor's name, first found wins
  std::vector<int64_t> file_shape;  // the shape the file must have
  int64_t row_begin = 0;
  int64_t rows = 0;
  float scale = 1.0F;
  bool operator==(const WeightPart&) const = default;
};

// A weight as the engine holds it: parts stacked by rows into [rows, cols].
// Fused projections (q,k,v; gate,up) are one Weight of several parts. `other_parts` is another
// layout of the same rows, taken when the file lacks the first part: experts one by one.
struct Weight {
  std::string name;
  int64_t rows = 0;
  int64_t cols = 1;
  Draw draw = Draw::linear;
  std::vector<WeightPart> parts;
  std::vector<WeightPart> other_parts = {};
  bool operator==(const Weight&) const = default;
};

// y = x / rms(x) * (offset + weight)      (rms; without a weight x / rms(x)), or
// y = (x - mean) / std * weight + bias    (layer).
struct NormSpec {
  NormKind kind = NormKind::rms;
  WeightId weight = no_weight;
  WeightId bias = no_weight;
  double eps = 1e-5;
  double weight_offset = 0;  // 1 for the Gemma convention
  bool operator==(const NormSpec&) const = default;
};

// Rotary positions on the first `rotary_dim` of each head, halves convention (x1, x2 = two halves).
struct RopeSpec {
  int64_t rotary_dim = 0;
  std::vector<double> inv_freq;  // [rotary_dim / 2]
  double amplitude = 1;          // longrope scales cos and sin
  // longrope: a plan of more than `short_positions` positions rotates by these instead.
  std::vector<double> long_inv_freq;
  int64_t short_positions = 0;
  bool operator==(const RopeSpec&) const = default;
};

// Low-rank update of a projection y = W x: y[next rows of each up] += up (down x's next rank).
struct Adapter {
  WeightId down = no_weight;  // [sum of ranks, D]
  std::vector<WeightId> up;   // each [rows, rank]
  bool operator==(const Adapter&) const = default;
};

// softmax(q k^T * scale) v over the cache, causal, grouped-query.
struct AttentionBlock {
  int64_t heads = 0, kv_heads = 0, head_dim = 0, value_dim = 0;
  WeightId qkv = no_weight;  // rows: q [H*P], (gate [H*value_dim]), k [Hkv*P], v [Hkv*value_dim]
  WeightId qkv_bias = no_weight;
  WeightId o = no_weight;  // [D, H*value_dim]
  WeightId o_bias = no_weight;
  double scale = 0;
  int64_t window = 0;  // 0: all positions; w: the last w positions, itself included
  int64_t sinks = 0;   // with a window: the first `sinks` positions stay visible
  std::optional<RopeSpec> rope;
  std::optional<NormSpec> q_norm, k_norm;  // of every head, before rope
  bool gated = false;                      // the output times sigmoid(gate), the gate from qkv
  std::optional<Adapter> adapter;          // of q, k, v
  int32_t kv_from_layer = -1;  // >= 0: reads that layer's K and V; qkv is q (and gate) alone
  bool operator==(const AttentionBlock&) const = default;
};

// down(act(gate) * up) when gated, else down(act(up)).
struct MlpBlock {
  int64_t width = 0;
  Act act = Act::silu;
  bool gated = true;
  WeightId up = no_weight;  // gated: rows gate [F], up [F]; else [F]
  WeightId up_bias = no_weight;
  WeightId down = no_weight;
  WeightId down_bias = no_weight;
  std::optional<Adapter> adapter;  // of up
  WeightId row_gate = no_weight;   // [1, D]: the output times sigmoid(x . row_gate)
  bool operator==(const MlpBlock&) const = default;
};

// Mixture of experts: of E small MLPs each token visits the top_k with the highest score, and their
// outputs are added with the scores as weights.
struct MoeBlock {
  int64_t experts = 0, top_k = 0, width = 0;
  Act act = Act::silu;
  bool gated = true;
  WeightId router = no_weight;  // [E, D]
  RouterScore score = RouterScore::softmax;
  WeightId choice_bias = no_weight;    // [E], added for the choice alone
  int64_t groups = 1, top_groups = 1;  // the choice is among the best groups of experts
  bool normalize = true;               // chosen weights sum to 1
  double scale = 1;                    // of the weights
  int64_t expert_width = 0;            // D, or the latent width
  WeightId up = no_weight;             // [E * 2F, D]: of each expert gate, up; else [E * F, D]
  WeightId down = no_weight;           // [E * D, F]
  WeightId to_latent = no_weight, from_latent = no_weight;  // [latent, D], [D, latent]
  WeightId to_latent_bias = no_weight, from_latent_bias = no_weight;
  bool operator==(const MoeBlock&) const = default;
};

// Selective state-space model, Mamba (arXiv 2312.00752).
struct Mamba1Block {
  int64_t inner = 0, state = 0, conv_width = 0, dt_rank = 0;
  WeightId in_proj = no_weight;  // rows: x [D], z [D]
  WeightId in_bias = no_weight;
  WeightId conv = no_weight, conv_bias = no_weight;  // [D, K], [D]
  WeightId x_proj = no_weight;                       // rows: dt [R], B [N], C [N]
  WeightId dt_proj = no_weight, dt_bias = no_weight;
  WeightId a_log = no_weight, d_skip = no_weight;   // [D, N], [D]
  std::optional<NormSpec> dt_norm, b_norm, c_norm;  // of what x_proj gives
  WeightId out_proj = no_weight, out_bias = no_weight;
  bool operator==(const Mamba1Block&) const = default;
};

// State-space duality, Mamba-2 (arXiv 2405.21060).
struct Mamba2Block {
  int64_t heads = 0, head_dim = 0, state = 0, groups = 1, conv_width = 0, chunk = 256;
  double dt_min = 0, dt_max = 0;  // clamp of softplus(dt + bias); dt_max 0 means no upper bound
  WeightId in_proj = no_weight;   // rows: z [H*P], x [H*P], B [G*N], C [G*N], dt [H]
  WeightId in_bias = no_weight;
  WeightId conv = no_weight, conv_bias = no_weight;  // over x, B, C; none at conv_width 0
  std::optional<NormSpec> b_norm, c_norm;            // of every group, after the convolution
  WeightId dt_bias = no_weight, a_log = no_weight, d_skip = no_weight;  // [H]
  std::optional<NormSpec> gated_norm;                                   // absent: y * silu(z) alone
  int64_t norm_groups = 1;
  bool norm_before_gate = false;
  WeightId out_proj = no_weight, out_bias = no_weight;
  bool operator==(const Mamba2Block&) const = default;
};

// Hymba (arXiv 2411.13676): attention heads and one Mamba-1 head on one projection;
// out((norm(attention) + norm(mamba))). The blocks' own in and out projections stay unused.
struct ParallelHeadsBlock {
  AttentionBlock attention;
  Mamba1Block mamba;
  WeightId in_proj = no_weight, in_bias = no_weight;  // rows: q, (k, v), x [I], z [I]
  NormSpec attention_norm, mamba_norm;
  WeightId out_proj = no_weight, out_bias = no_weight;
  bool operator==(const ParallelHeadsBlock&) const = default;
};

// Gated delta rule (arXiv 2412.06464) with a convolution in front and a gated norm behind.
struct GatedDeltaBlock {
  int64_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0, conv_width = 0, chunk = 64;
  WeightId in_proj = no_weight;                     // rows: q, k [Hk*Pk], v, z [Hv*Pv], b, a [Hv]
  WeightId conv = no_weight;                        // over q, k, v
  WeightId dt_bias = no_weight, a_log = no_weight;  // [Hv]
  NormSpec norm;                                    // of every head, [Pv]; then times silu(z)
  WeightId out_proj = no_weight;
  bool operator==(const GatedDeltaBlock&) const = default;
};

// Real-gated linear recurrent unit between a convolution and a gate (Griffin, arXiv 2402.19427).
struct RgLruBlock {
  int64_t width = 0, heads = 0, conv_width = 0;
  Act act = Act::gelu_tanh;
  WeightId in_proj = no_weight, in_bias = no_weight;  // rows: y (the gate) [W], x [W]
  WeightId conv = no_weight, conv_bias = no_weight;
  WeightId input_gate = no_weight, input_gate_bias = no_weight;  // blocks [H * W/H in, W/H out]
  WeightId recurrent_gate = no_weight, recurrent_gate_bias = no_weight;
  WeightId param = no_weight;  // [W]
  WeightId out_proj = no_weight, out_bias = no_weight;
  bool operator==(const RgLruBlock&) const = default;
};

// out(C * conv(B * x)): a short convolution between two gates (LFM2).
struct ShortConvBlock {
  int64_t width = 0, conv_width = 0;
  WeightId in_proj = no_weight, in_bias = no_weight;  // rows: B, C, x
  WeightId conv = no_weight, conv_bias = no_weight;
  WeightId out_proj = no_weight, out_bias = no_weight;
  bool operator==(const ShortConvBlock&) const = default;
};

using Block = std::variant<AttentionBlock, MlpBlock, Mamba1Block, Mamba2Block, MoeBlock,
                           ParallelHeadsBlock, GatedDeltaBlock, RgLruBlock, ShortConvBlock>;

// Zamba2 (arXiv 2411.15242): a transformer block over the stream beside the embedding; what
// `linear` gives joins the input of the sublayer's norm, but not the residual.
struct SideTransformer {
  NormSpec norm;  // over [stream, embedding], 2D wide
  AttentionBlock attention;
  NormSpec mlp_norm;
  MlpBlock mlp;
  WeightId linear = no_weight;  // [D, D]
  bool operator==(const SideTransformer&) const = default;
};

// residual += residual_scale * sum over parallel blocks of block(norm(residual [+ side])).
struct Sublayer {
  NormSpec norm;
  std::vector<Block> parallel;
  double residual_scale = 1;
  std::optional<SideTransformer> side = {};
  bool operator==(const Sublayer&) const = default;
};

struct LayerSpec {
  std::vector<Sublayer> sublayers;
  bool operator==(const LayerSpec&) const = default;
};

struct ModelSpec {
  std::string name;
  std::string family;
  int64_t vocab = 0, hidden = 0;
  WeightId embedding = no_weight;  // [V + meta_tokens, D]
  double embedding_scale = 1;
  WeightId positions = no_weight;  // learned positions [P, D], added to the embedding
  int64_t meta_tokens = 0;         // learned tokens before every prompt, ids V, V + 1, ...
  std::vector<LayerSpec> layers;
  NormSpec final_norm;
  WeightId lm_head = no_weight;  // [V, D]; equal to `embedding` when tied
  double logits_scale = 1;
  double logits_cap = 0;  // c > 0: c * tanh(logits / c)
  // sliding_window of a config that switches it off; says nothing about the model, but frameworks
  // that read the key all the same behave differently from there on.
  int64_t declared_window = 0;
  int64_t declared_positions = 0;  // that its makers name as its longest context; 0: none
  std::vector<Weight> weights;
  bool operator==(const ModelSpec&) const = default;
};

int64_t parameter_count(const ModelSpec&);  // tied and shared weights once

}  // namespace tidemark
