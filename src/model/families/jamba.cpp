// Jamba: Mamba-1 with norms of dt, B and C, attention without positions now and then, an MLP or
// experts after each. transformers: configuration_jamba.py, modeling_jamba.py.
#include "base/error.h"
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"

namespace tidemark {
namespace {

// Layers offset, offset + period, ...
struct Every {
  int64_t period = 0, offset = 0;
  bool has(int64_t layer) const { return layer % period == offset; }
};
Every read_every(const Json& config, const std::string& what, int64_t period, int64_t offset) {
  Every out{dimension(config, what + "_layer_period", period, max_layers), offset};
  const std::string key = what + "_layer_offset";
  if (config.has(key)) out.offset = config[key].integer(0);
  if (out.offset < out.period) return out;
  if (config.has(key)) config[key].fail_expected("less than " + what + "_layer_period");
  config[what + "_layer_period"].fail_expected(
      fmt::format("more than the default {} of {}", offset, key));
}

Mamba1Block mamba_block(SpecBuilder& builder, const std::string& prefix, const Mamba1Shape& shape,
                        double eps) {
  Mamba1Block block = mamba1_block(builder, prefix, shape);
  block.dt_norm = builder.rms_norm(prefix + "dt_layernorm.weight", shape.dt_rank, eps);
  block.b_norm = builder.rms_norm(prefix + "b_layernorm.weight", shape.state, eps);
  block.c_norm = builder.rms_norm(prefix + "c_layernorm.weight", shape.state, eps);
  return block;
}

}  // namespace

ModelSpec make_jamba(const Json& config) {
  SpecBuilder builder(config);
  const int64_t hidden = dimension(config, "hidden_size", 4096);
  const int64_t layers = dimension(config, "num_hidden_layers", 32, max_layers);
  const double eps = positive(config, "rms_norm_eps", 1e-6);
  const Heads heads = read_heads(config, hidden, 32, 8);
  require_silu(config, "hidden_act");
  const AttentionShape attention{.hidden = hidden,
                                 .heads = heads.heads,
                                 .kv_heads = heads.kv_heads,
                                 .head_dim = heads.head_dim};
  const Mamba1Shape mamba{
      .hidden = hidden,
      .inner = product(config, "mamba_expand", hidden, dimension(config, "mamba_expand", 2)),
      .state = dimension(config, "mamba_d_state", 16),
      .conv_width = dimension(config, "mamba_d_conv", 4),
      .dt_rank = read_dt_rank(config, "mamba_dt_rank", hidden),
      .bias = flag(config, "mamba_proj_bias", false),
      .conv_bias = flag(config, "mamba_conv_bias", true)};
  const MlpShape mlp{.hidden = hidden, .width = dimension(config, "intermediate_size", 14336)};
  const std::string_view experts_key = key_of(config, "num_experts", "num_local_experts");
  const int64_t experts =
      config.has(experts_key) ? config[experts_key].integer(0, max_experts) : 16;
  const MoeBlock moe{
      .experts = experts,
      .top_k = experts > 1 ? dimension(config, "num_experts_per_tok", 2, experts) : 0,
      .width = mlp.width,
      .normalize = false,  // weights are the softmax over all experts
      .expert_width = hidden};
  const Every attends = read_every(config, "attn", 8, 4);
  const Every routes = read_every(config, "expert", 2, 1);

  builder.spec.family = "jamba";
  builder.vocabulary({"model.embed_tokens.weight"}, dimension(config, "vocab_size", 65536), hidden,
                     flag(config, "tie_word_embeddings", false));
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    Sublayer mixing{builder.rms_norm(layer + "input_layernorm.weight", hidden, eps), {}};
    if (attends.has(i))
      mixing.parallel.push_back(attention_block(builder, layer + "self_attn.", attention));
    else
      mixing.parallel.push_back(mamba_block(builder, layer + "mamba.", mamba, eps));
    Sublayer feeding{builder.rms_norm(layer + "pre_ff_layernorm.weight", hidden, eps), {}};
    if (experts > 1 && routes.has(i))
      feeding.parallel.push_back(
          moe_block(builder, layer + "feed_forward.", moe, hidden, {.router = "router"}));
    else
      feeding.parallel.push_back(gated_mlp_block(builder, layer + "feed_forward.", mlp));
    builder.spec.layers.push_back({{std::move(mixing), std::move(feeding)}});
  }
  builder.spec.final_norm = builder.rms_norm("model.final_layernorm.weight", hidden, eps);
  return builder.finish();
}

}  // namespace tidemark
