// Nemotron-H: every layer is one block, Mamba-2, attention without positions, an MLP or experts.
// transformers: configuration_nemotron_h.py, modeling_nemotron_h.py.
#include "base/error.h"
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"

namespace tidemark {
namespace {

// hybrid_override_pattern spells M, *, -, E; layers_block_type (or layer_types) names them.
std::vector<std::string> read_kinds(const Json& config) {
  for (const char* key : {"layers_block_type", "layer_types"})
    if (config.has(key)) {
      const Json list = config[key];
      return read_layer_kinds(config, key, static_cast<int64_t>(list.size()));
    }
  const Json pattern = config["hybrid_override_pattern"];
  std::vector<std::string> kinds;
  for (const char letter : pattern.string()) {
    if (letter == 'M')
      kinds.push_back("linear_attention");
    else if (letter == '*')
      kinds.push_back("full_attention");
    else if (letter == '-')
      kinds.push_back("mlp");
    else if (letter == 'E')
      kinds.push_back("moe");
    else
      pattern.fail_expected("a pattern of M, *, - and E");
  }
  return kinds;
}

Mamba2Shape read_mamba(const Json& config, int64_t hidden, double eps) {
  require_silu(config, "mamba_hidden_act");
  Mamba2Shape shape;
  shape.hidden = hidden;
  shape.heads = dimension(config, "mamba_num_heads", 128);
  shape.head_dim = dimension(config, "mamba_head_dim", 64);
  product(config, "mamba_head_dim", shape.heads, shape.head_dim);
  shape.state = dimension(config, "ssm_state_size", 128);
  const std::string_view groups = key_of(config, "n_groups", "mamba_n_groups");
  shape.groups = shape.norm_groups = dimension(config, groups, 8);
  check_divides(config, groups, shape.groups, shape.heads, "mamba_num_heads");
  product(config, groups, shape.groups, shape.state);
  shape.conv_width = dimension(config, key_of(config, "conv_kernel", "mamba_d_conv"), 4);
  shape.chunk = dimension(config, key_of(config, "chunk_size", "mamba_chunk_size"), 128);
  // The reference clamps the step from below by time_step_min, and not by time_step_limit.
  shape.dt_min = positive(config, key_of(config, "time_step_min", "mamba_dt_min"), 0.001);
  shape.in_bias = shape.out_bias = flag(config, "use_bias", false);
  shape.conv_bias = flag(config, key_of(config, "use_conv_bias", "mamba_conv_bias"), true);
  shape.norm_eps = eps;
  return shape;
}

struct Experts {
  MoeBlock block;
  bool bias = false;
  MlpShape shared;
};

Experts read_experts(const Json& config, int64_t hidden, Act act, bool bias) {
  Experts out;
  MoeBlock& block = out.block;
  block.experts =
      dimension(config, key_of(config, "n_routed_experts", "num_local_experts"), 8, max_experts);
  block.top_k = dimension(config, "num_experts_per_tok", 2, block.experts);
  block.width = dimension(config, "moe_intermediate_size", 7688);
  block.act = act;
  block.gated = false;
  block.score = RouterScore::sigmoid;
  block.groups = dimension(config, "n_group", 1, block.experts);
  check_divides(config, "n_group", block.groups, block.experts, "n_routed_experts");
  // The reference ranks groups by their two best experts.
  if (block.experts / block.groups < 2)
    fail("{}: key 'n_routed_experts': expected two or more a group, found {} in {}", config.where(),
         block.experts, block.groups);
  block.top_groups = dimension(config, "topk_group", 1, block.groups);
  if (block.top_k > block.top_groups * (block.experts / block.groups))
    config["num_experts_per_tok"].fail_expected("at most the experts of topk_group groups");
  block.normalize = flag(config, "norm_topk_prob", true);
  block.scale = finite(config, "routed_scaling_factor", 1);
  block.expert_width = dimension(config, "moe_latent_size", hidden);
  out.bias = bias;
  out.shared = {.hidden = hidden,
                .width = dimension(config, "moe_shared_expert_intermediate_size", 7688),
                .act = act,
                .bias = bias};
  return out;
}

}  // namespace

ModelSpec make_nemotron_h(const Json& config) {
  SpecBuilder builder(config);
  const int64_t hidden = dimension(config, "hidden_size", 4096);
  const std::vector<std::string> kinds = read_kinds(config);
  if (kinds.empty() || static_cast<int64_t>(kinds.size()) > max_layers)
    fail("{}: expected 1 to {} layers, found {}", config.where(), max_layers, kinds.size());
  const double eps = positive(config, "layer_norm_epsilon", 1e-5);
  const int64_t head_dim = dimension(config, "head_dim", 128, max_head_dim);
  const Heads heads = read_heads(config, hidden, 32, 8, head_dim);
  // No biases, whatever attention_bias says.
  const AttentionShape attention{
      .hidden = hidden, .heads = heads.heads, .kv_heads = heads.kv_heads, .head_dim = head_dim};
  const Act act = activation(config, "mlp_hidden_act", Act::relu2);
  const bool mlp_bias = flag(config, "mlp_bias", false);
  const MlpShape mlp{.hidden = hidden,
                     .width = dimension(config, "intermediate_size", 21504),
                     .act = act,
                     .bias = mlp_bias};
  const Mamba2Shape mamba = read_mamba(config, hidden, eps);

  builder.spec.family = "nemotron_h";
  builder.vocabulary({"backbone.embeddings.weight", "backbone.embedding.weight"},
                     dimension(config, "vocab_size", 131072), hidden,
                     flag(config, "tie_word_embeddings", false));
  for (size_t i = 0; i < kinds.size(); ++i) {
    const std::string layer = "backbone.layers." + std::to_string(i) + ".";
    const std::string mixer = layer + "mixer.";
    Sublayer sublayer{builder.rms_norm(layer + "norm.weight", hidden, eps), {}};
    if (kinds[i] == "linear_attention") {
      sublayer.parallel.push_back(mamba2_block(builder, mixer, mamba));
    } else if (kinds[i] == "full_attention") {
      sublayer.parallel.push_back(attention_block(builder, mixer, attention));
    } else if (kinds[i] == "mlp") {
      sublayer.parallel.push_back(plain_mlp_block(builder, mixer, mlp));
    } else if (kinds[i] == "moe") {
      const Experts experts = read_experts(config, hidden, act, mlp_bias);
      sublayer.parallel.push_back(moe_block(builder, mixer, experts.block, hidden,
                                            {.choice_bias = "gate.e_score_correction_bias",
                                             .latent = config.has("moe_latent_size"),
                                             .latent_bias = experts.bias}));
      sublayer.parallel.push_back(
          plain_mlp_block(builder, mixer + "shared_experts.", experts.shared));
    } else {
      fail("{}: layer {}: expected linear_attention, full_attention, mlp or moe, found '{}'",
           config.where(), i, printable(kinds[i]));
    }
    builder.spec.layers.push_back({{std::move(sublayer)}});
  }
  builder.spec.final_norm = builder.rms_norm("backbone.norm_f.weight", hidden, eps);
  builder.accept_prefix("backbone.", "model.");
  return builder.finish();
}

}  // namespace tidemark
