// What families build a ModelSpec with: weights by tensor name, and the blocks that several
// families share.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "model/spec.h"

namespace tidemark {

// One tensor, or rows [first, first + rows) of its `of`, that becomes part of a Weight.
struct Part {
  std::string name;
  int64_t rows = 0;
  double scale = 1;
  int64_t first = 0;
  int64_t of = 0;  // 0: the part is the whole
};

// The head of a model that was read as tied to the embedding becomes a matrix of its own.
void untie(ModelSpec&);

class SpecBuilder {
 public:
  explicit SpecBuilder(const Json& config) : config_(config) {}

  ModelSpec spec;

  // A whole tensor [rows, cols].
  WeightId matrix(const std::string& tensor, int64_t rows, int64_t cols, double scale = 1);
  // A whole tensor [size].
  WeightId vector(const std::string& tensor, int64_t size, Draw draw, double scale = 1);
  // Tensors [part.rows, cols] stacked; cols 0 for vectors [part.rows].
  WeightId stacked(const std::string& name, int64_t cols, Draw draw,
                   const std::vector<Part>& parts);
  // One tensor whose successive rows carry their own scales.
  WeightId sections(const std::string& tensor, int64_t cols, Draw draw,
                    const std::vector<Part>& sections);
  WeightId conv(const std::string& tensor, int64_t channels, int64_t width);  // file [C, 1, K]
  // `offset` 1: the tensor holds weight - 1 (Gemma, Qwen3-Next).
  NormSpec rms_norm(const std::string& tensor, int64_t width, double eps, double offset = 0);
  NormSpec layer_norm(const std::string& prefix, int64_t width, double eps);  // weight and bias
  // For each of `count` experts the `each` matrices stacked: in the file one tensor `fused`
  // [count, rows, cols], or matrices named `one_by_one`, the expert's number, "." and each's name.
  WeightId experts(const std::string& fused, const std::string& one_by_one, int64_t count,
                   int64_t cols, const std::vector<Part>& each);

  // Embedding [V, D] under the first of `tensors` that the file has, and the head on it or its own.
  void vocabulary(const std::vector<std::string>& tensors, int64_t vocab, int64_t hidden,
                  bool tied);

  // Lets a checkpoint say `other` where names of tensors so far begin with `prefix`.
  void accept_prefix(std::string_view prefix, std::string_view other);

  // Checks the whole and gives it away.
  ModelSpec finish();

 private:
  // Fails beyond 2^20 tensors: a small hostile file could ask for memory without end.
  void count_tensors(size_t more);
  WeightId add(Weight weight);

  Json config_;
  size_t tensors_ = 0;
};

// softmax attention with q_proj, k_proj, v_proj, o_proj under `prefix`.
struct AttentionShape {
  int64_t hidden = 0, heads = 0, kv_heads = 0, head_dim = 0;
  bool qkv_bias = false, o_bias = false;
  std::optional<RopeSpec> rope = {};
  int64_t window = 0;
  double in_scale = 1, key_scale = 1, out_scale = 1;  // of the input, of k, of the output
  double score_scale = 0;                             // of q k^T; 0: 1 / sqrt(head_dim)
  bool fused_qkv = false;                             // one tensor qkv_proj
  bool gated = false;  // q_proj has 2 * head_dim rows per head: the query, then the gate
  std::string out = "o_proj";
  std::string q_norm = "", k_norm = "";  // of every head; none when empty
  double norm_eps = 1e-6, norm_offset = 0;
  int64_t in_width = 0;  // of q_proj's input; 0: hidden
};
AttentionBlock attention_block(SpecBuilder& builder, const std::string& prefix,
                               const AttentionShape& shape);

// gate_proj, up_proj, down_proj, or as they are called, under `prefix`.
struct MlpShape {
  int64_t hidden = 0, width = 0;
  Act act = Act::silu;
  bool bias = false;
  double gate_scale = 1, out_scale = 1;  // of the gate before `act`, of the output
  std::string gate = "gate_proj", up = "up_proj", down = "down_proj";
  std::string fused = "";  // the one tensor with gate and up
};
MlpBlock gated_mlp_block(SpecBuilder& builder, const std::string& prefix, const MlpShape& shape);
// up, down under `prefix`.
MlpBlock plain_mlp_block(SpecBuilder& builder, const std::string& prefix, const MlpShape& shape);

struct Mamba1Shape {
  int64_t hidden = 0, inner = 0, state = 0, conv_width = 0, dt_rank = 0;
  bool bias = false, conv_bias = true;
  std::string list_index = "";  // ".0" where the tensors are elements of lists (Hymba)
  bool own_projections = true;  // in_proj and out_proj
};
Mamba1Block mamba1_block(SpecBuilder& builder, const std::string& prefix, const Mamba1Shape& shape);

struct Mamba2Shape {
  // conv_width 0: no convolution
  int64_t hidden = 0, heads = 0, head_dim = 0, state = 0, groups = 1, conv_width = 0, chunk = 256;
  double dt_min = 0, dt_max = 0;
  bool in_bias = false, conv_bias = true, out_bias = false;
  bool param_norms = false;  // of B and C
  bool gated_norm = true, norm_before_gate = false;
  int64_t norm_groups = 1;
  double norm_eps = 1e-5;
  double in_scale = 1, out_scale = 1;  // of the input, of the output
  double z_scale = 1, x_scale = 1, b_scale = 1, c_scale = 1, dt_scale = 1;  // after in_proj
};
Mamba2Block mamba2_block(SpecBuilder& builder, const std::string& prefix, const Mamba2Shape& shape);

// The following take a block with its dimensions and give it its weights.

// `in_proj`: what is stacked into q, k, v, z, b, a, in this order.
GatedDeltaBlock gated_delta_block(SpecBuilder& builder, const std::string& prefix,
                                  GatedDeltaBlock block, int64_t hidden, double eps,
                                  const std::vector<Part>& in_proj);
RgLruBlock rg_lru_block(SpecBuilder& builder, const std::string& prefix, RgLruBlock block,
                        int64_t hidden);
ShortConvBlock short_conv_block(SpecBuilder& builder, const std::string& prefix,
                                ShortConvBlock block, bool bias);
struct MoeParts {
  std::string router = "gate", choice_bias = "";  // no bias of the choice when empty
  bool latent = false;  // experts read a latent space, `expert_width` wide
  bool latent_bias = false;
};
MoeBlock moe_block(SpecBuilder& builder, const std::string& prefix, MoeBlock block, int64_t hidden,
                   const MoeParts& has);

}  // namespace tidemark
