// Falcon-H1: in every layer attention and Mamba-2 read the same normed input and both add to the
// residual; an MLP follows. Its multipliers become scales of the weights they act on.
// transformers: configuration_falcon_h1.py, modeling_falcon_h1.py.
#include <cmath>

#include "base/error.h"
#include "model/families/bamba_mixer.h"
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"

namespace tidemark {
namespace {

std::vector<double> read_multipliers(const Json& config, std::string_view key, size_t count) {
  if (!config.has(key)) return std::vector<double>(count, 1.0);
  const Json list = config[key];
  if (list.size() != count) list.fail_expected(std::to_string(count) + " multipliers");
  std::vector<double> out;
  for (size_t i = 0; i < count; ++i) {
    out.push_back(list[i].number());
    if (!std::isfinite(out.back())) list[i].fail_expected("a finite number");
  }
  return out;
}

Mamba2Shape read_mamba(const Json& config, int64_t hidden) {
  // Absent, mamba_d_ssm is 1024; an explicit null means expand * hidden_size.
  const bool expands = config.has_null("mamba_d_ssm");
  const int64_t inner =
      expands ? product(config, "mamba_expand", hidden, dimension(config, "mamba_expand", 2))
              : dimension(config, "mamba_d_ssm", 1024);
  Mamba2Shape shape = read_mamba2_mixer(config, hidden, inner, "mamba_d_ssm");
  shape.out_bias = flag(config, "projectors_bias", false);
  shape.gated_norm = flag(config, "mamba_rms_norm", false);
  shape.norm_before_gate = flag(config, "mamba_norm_before_gate", true);
  shape.norm_groups = shape.groups;
  shape.norm_eps = positive(config, "rms_norm_eps", 1e-5);
  shape.in_scale = finite(config, "ssm_in_multiplier", 1);
  shape.out_scale = finite(config, "ssm_out_multiplier", 1);
  const std::vector<double> scales = read_multipliers(config, "ssm_multipliers", 5);
  shape.z_scale = scales[0];
  shape.x_scale = scales[1];
  shape.b_scale = scales[2];
  shape.c_scale = scales[3];
  shape.dt_scale = scales[4];
  return shape;
}

}  // namespace

ModelSpec make_falcon_h1(const Json& config) {
  SpecBuilder builder(config);
  const int64_t hidden = dimension(config, "hidden_size", 4096);
  const int64_t layers = dimension(config, "num_hidden_layers", 32, max_layers);
  const double eps = positive(config, "rms_norm_eps", 1e-5);
  const Heads heads = read_heads(config, hidden, 32, 8);
  const bool attention_bias = flag(config, "attention_bias", false);
  require_silu(config, "hidden_act");
  const AttentionShape attention{.hidden = hidden,
                                 .heads = heads.heads,
                                 .kv_heads = heads.kv_heads,
                                 .head_dim = heads.head_dim,
                                 .qkv_bias = attention_bias,
                                 .o_bias = attention_bias,
                                 .rope = read_rope(config, heads.head_dim, {.max_positions = 8192}),
                                 .in_scale = finite(config, "attention_in_multiplier", 1),
                                 .key_scale = finite(config, "key_multiplier", 1),
                                 .out_scale = finite(config, "attention_out_multiplier", 1)};
  const Mamba2Shape mamba = read_mamba(config, hidden);
  const std::vector<double> mlp_scales = read_multipliers(config, "mlp_multipliers", 2);
  const MlpShape mlp{.hidden = hidden,
                     .width = dimension(config, "intermediate_size", 14336),
                     .bias = flag(config, "mlp_bias", false),
                     .gate_scale = mlp_scales[0],
                     .out_scale = mlp_scales[1]};

  builder.spec.family = "falcon_h1";
  builder.vocabulary({"model.embed_tokens.weight"}, dimension(config, "vocab_size", 128000), hidden,
                     flag(config, "tie_word_embeddings", false));
  builder.spec.embedding_scale = finite(config, "embedding_multiplier", 1);
  builder.spec.logits_scale = finite(config, "lm_head_multiplier", 1);
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    Sublayer mixing{builder.rms_norm(layer + "input_layernorm.weight", hidden, eps),
                    {attention_block(builder, layer + "self_attn.", attention),
                     mamba2_block(builder, layer + "mamba.", mamba)}};
    Sublayer feeding{builder.rms_norm(layer + "pre_ff_layernorm.weight", hidden, eps),
                     {gated_mlp_block(builder, layer + "feed_forward.", mlp)}};
    builder.spec.layers.push_back({{std::move(mixing), std::move(feeding)}});
  }
  builder.spec.final_norm = builder.rms_norm("model.final_layernorm.weight", hidden, eps);
  return builder.finish();
}

}  // namespace tidemark
