// ModelSpec: what a model is, in dimensions, generic blocks and weight names.
// It knows no operators and no devices. families/*.cpp make it from a config; plan/ reads it.
// Shape letters: B batch, L tokens of a step, D width, H heads, P head width, G groups, N state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

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
};

// A weight as the engine holds it: parts stacked by rows into [rows, cols].
// Fused projections (q,k,v; gate,up) are one Weight of several parts.
struct Weight {
  std::string name;
  int64_t rows = 0;
  int64_t cols = 1;
  Draw draw = Draw::linear;
  std::vector<WeightPart> parts;
};

enum class NormKind { rms, layer };
enum class Act { silu, gelu, gelu_tanh, relu2, sigmoid, identity };

// y = x / rms(x) * (offset + weight)      (rms), or
// y = (x - mean) / std * weight + bias    (layer).
struct NormSpec {
  NormKind kind = NormKind::rms;
  WeightId weight = no_weight;
  WeightId bias = no_weight;
  double eps = 1e-5;
  double weight_offset = 0;  // 1 for the Gemma convention
};

// Rotary positions on the first `rotary_dim` of each head, halves convention (x1, x2 = two halves).
struct RopeSpec {
  int64_t rotary_dim = 0;
  std::vector<double> inv_freq;  // [rotary_dim / 2]
  double amplitude = 1;          // longrope scales cos and sin
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
  std::optional<RopeSpec> rope;
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
};

// Selective state-space model, Mamba (arXiv 2312.00752).
struct Mamba1Block {
  int64_t inner = 0, state = 0, conv_width = 0, dt_rank = 0;
  WeightId in_proj = no_weight;  // rows: x [D], z [D]
  WeightId in_bias = no_weight;
  WeightId conv = no_weight, conv_bias = no_weight;  // [D, K], [D]
  WeightId x_proj = no_weight;                       // rows: dt [R], B [N], C [N]
  WeightId dt_proj = no_weight, dt_bias = no_weight;
  WeightId a_log = no_weight, d_skip = no_weight;  // [D, N], [D]
  WeightId out_proj = no_weight, out_bias = no_weight;
};

// State-space duality, Mamba-2 (arXiv 2405.21060).
struct Mamba2Block {
  int64_t heads = 0, head_dim = 0, state = 0, groups = 1, conv_width = 0, chunk = 256;
  double dt_min = 0, dt_max = 0;  // clamp of softplus(dt + bias); dt_max 0 means no upper bound
  WeightId in_proj = no_weight;   // rows: z [H*P], x [H*P], B [G*N], C [G*N], dt [H]
  WeightId in_bias = no_weight;
  WeightId conv = no_weight, conv_bias = no_weight;                     // over x, B, C
  WeightId dt_bias = no_weight, a_log = no_weight, d_skip = no_weight;  // [H]
  std::optional<NormSpec> gated_norm;                                   // absent: y * silu(z) alone
  int64_t norm_groups = 1;
  bool norm_before_gate = false;
  WeightId out_proj = no_weight, out_bias = no_weight;
};

using Block = std::variant<AttentionBlock, MlpBlock, Mamba1Block, Mamba2Block>;

// residual += residual_scale * sum over parallel blocks of block(norm(residual)).
struct Sublayer {
  NormSpec norm;
  std::vector<Block> parallel;
};

struct LayerSpec {
  std::vector<Sublayer> sublayers;
};

struct ModelSpec {
  std::string name;
  std::string family;
  int64_t vocab = 0, hidden = 0;
  WeightId embedding = no_weight;  // [V, D]
  double embedding_scale = 1;
  std::vector<LayerSpec> layers;
  NormSpec final_norm;
  WeightId lm_head = no_weight;  // [V, D]; equal to `embedding` when tied
  double logits_scale = 1;
  std::vector<Weight> weights;
};

int64_t parameter_count(const ModelSpec&);  // tied and shared weights once

}  // namespace tidemark
