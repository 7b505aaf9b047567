// Bamba: Mamba-2 layers with a few attention layers between, an MLP after each.
// transformers: configuration_bamba.py, modeling_bamba.py.
#include "model/families/bamba_mixer.h"
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"

namespace tidemark {

ModelSpec make_bamba(const Json& config) {
  SpecBuilder builder(config);
  const int64_t hidden = dimension(config, "hidden_size", 4096);
  const int64_t layers = dimension(config, "num_hidden_layers", 32, max_layers);
  const double eps = positive(config, "rms_norm_eps", 1e-5);
  const Heads heads = read_heads(config, hidden, 32, 8);
  require_silu(config, "hidden_act");
  const bool attention_bias = flag(config, "attention_bias", false);
  // transformers rotates half of each head, whatever the config says outside rope_parameters.
  const RopeSpec rope =
      read_rope(config, heads.head_dim,
                {.fraction = 0.5, .partial = true, .top_fraction = false, .max_positions = 262144});
  const AttentionShape attention{.hidden = hidden,
                                 .heads = heads.heads,
                                 .kv_heads = heads.kv_heads,
                                 .head_dim = heads.head_dim,
                                 .qkv_bias = attention_bias,
                                 .o_bias = attention_bias,
                                 .rope = rope};
  const MlpShape mlp{.hidden = hidden,
                     .width = dimension(config, "intermediate_size", 14336),
                     .bias = flag(config, "mlp_bias", false)};
  const Mamba2Shape mamba = read_bamba_mixer(config, hidden, eps);
  const std::vector<bool> attends = read_layer_flags(config, "attn_layer_indices", layers);

  builder.spec.family = "bamba";
  builder.vocabulary({"model.embed_tokens.weight"}, dimension(config, "vocab_size", 128000), hidden,
                     flag(config, "tie_word_embeddings", false));
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    Sublayer mixing{builder.rms_norm(layer + "input_layernorm.weight", hidden, eps), {}};
    if (attends[static_cast<size_t>(i)])
      mixing.parallel.push_back(attention_block(builder, layer + "self_attn.", attention));
    else
      mixing.parallel.push_back(mamba2_block(builder, layer + "mamba.", mamba));
    Sublayer feeding{builder.rms_norm(layer + "pre_ff_layernorm.weight", hidden, eps),
                     {gated_mlp_block(builder, layer + "feed_forward.", mlp)}};
    builder.spec.layers.push_back({{std::move(mixing), std::move(feeding)}});
  }
  builder.spec.final_norm = builder.rms_norm("model.final_layernorm.weight", hidden, eps);
  return builder.finish();
}

}  // namespace tidemark
