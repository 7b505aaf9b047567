// Granite 4.0: Mamba-2 or attention, then a shared MLP beside routed experts, with multipliers.
// transformers: configuration_granitemoehybrid.py, modeling_granitemoehybrid.py.
#include "model/families/bamba_mixer.h"
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"

namespace tidemark {
namespace {

std::vector<std::string> read_kinds(const Json& config, int64_t layers) {
  for (const char* key : {"layer_types", "layers_block_type"})
    if (config.has(key)) return read_layer_kinds(config, key, layers);
  return std::vector<std::string>(static_cast<size_t>(layers), "linear_attention");
}

std::optional<RopeSpec> read_positions(const Json& config, int64_t head_dim) {
  const std::string type =
      config.has("position_embedding_type") ? config["position_embedding_type"].string() : "nope";
  if (type == "rope") return read_rope(config, head_dim);
  if (type != "nope") config["position_embedding_type"].fail_expected("rope or nope");
  return std::nullopt;
}

// Weights of the top_k chosen logits are their softmax.
MoeBlock moe_block(SpecBuilder& builder, const std::string& prefix, MoeBlock block) {
  const int64_t hidden = block.expert_width;
  block.router = builder.matrix(prefix + "router.layer.weight", block.experts, hidden);
  block.up = builder.experts(prefix + "input_linear.weight", prefix + "experts.", block.experts,
                             hidden, {{"input_linear.weight", 2 * block.width}});
  block.down = builder.experts(prefix + "output_linear.weight", prefix + "experts.", block.experts,
                               block.width, {{"output_linear.weight", hidden}});
  return block;
}

}  // namespace

ModelSpec make_granite_moe_hybrid(const Json& config) {
  SpecBuilder builder(config);
  const int64_t hidden = dimension(config, "hidden_size", 4096);
  const int64_t layers = dimension(config, "num_hidden_layers", 32, max_layers);
  const double eps = positive(config, "rms_norm_eps", 1e-6);
  const Heads heads = read_heads(config, hidden, 32, std::nullopt);
  require_silu(config, "hidden_act");
  const bool bias = flag(config, "attention_bias", false);
  const AttentionShape attention{.hidden = hidden,
                                 .heads = heads.heads,
                                 .kv_heads = heads.kv_heads,
                                 .head_dim = heads.head_dim,
                                 .qkv_bias = bias,
                                 .o_bias = bias,
                                 .rope = read_positions(config, heads.head_dim),
                                 .score_scale = positive(config, "attention_multiplier", 1)};
  const MlpShape shared{.hidden = hidden,
                        .width = dimension(config, "shared_intermediate_size", 1024),
                        .down = "output_linear",
                        .fused = "input_linear"};
  const int64_t experts =
      config.has("num_local_experts") ? config["num_local_experts"].integer(0, max_experts) : 8;
  const MoeBlock moe{
      .experts = experts,
      .top_k = experts > 0 ? dimension(config, "num_experts_per_tok", 2, experts) : 0,
      .width = experts > 0 ? dimension(config, "intermediate_size", 11008) : 0,
      .expert_width = hidden};
  const Mamba2Shape mamba = read_bamba_mixer(config, hidden, eps);
  const std::vector<std::string> kinds = read_kinds(config, layers);
  const double residual_scale = finite(config, "residual_multiplier", 1);

  builder.spec.family = "granitemoehybrid";
  builder.vocabulary({"model.embed_tokens.weight"}, dimension(config, "vocab_size", 32000), hidden,
                     flag(config, "tie_word_embeddings", false));
  builder.spec.embedding_scale = finite(config, "embedding_multiplier", 1);
  builder.spec.logits_scale = 1 / positive(config, "logits_scaling", 1);
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    const std::string& kind = kinds[static_cast<size_t>(i)];
    Sublayer mixing{
        builder.rms_norm(layer + "input_layernorm.weight", hidden, eps), {}, residual_scale};
    if (kind == "linear_attention")
      mixing.parallel.push_back(mamba2_block(builder, layer + "mamba.", mamba));
    else if (kind == "full_attention")
      mixing.parallel.push_back(attention_block(builder, layer + "self_attn.", attention));
    else
      config["layer_types"][static_cast<size_t>(i)].fail_expected(
          "linear_attention or full_attention");
    Sublayer feeding{builder.rms_norm(layer + "post_attention_layernorm.weight", hidden, eps),
                     {},
                     residual_scale};
    if (experts > 0)
      feeding.parallel.push_back(moe_block(builder, layer + "block_sparse_moe.", moe));
    feeding.parallel.push_back(gated_mlp_block(builder, layer + "shared_mlp.", shared));
    builder.spec.layers.push_back({{std::move(mixing), std::move(feeding)}});
  }
  builder.spec.final_norm = builder.rms_norm("model.norm.weight", hidden, eps);
  return builder.finish();
}

}  // namespace tidemark
