// Llama 2 and 3, TinyLlama. transformers: configuration_llama.py, modeling_llama.py.
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"

namespace tidemark {

ModelSpec make_llama(const Json& config) {
  SpecBuilder builder(config);
  const int64_t hidden = dimension(config, "hidden_size", 4096);
  const int64_t layers = dimension(config, "num_hidden_layers", 32, max_layers);
  const double eps = positive(config, "rms_norm_eps", 1e-6);
  // Demanded even when head_dim stands on its own.
  check_divides(config, "num_attention_heads", dimension(config, "num_attention_heads", 32), hidden,
                "hidden_size");
  const Heads heads = read_heads(config, hidden, 32, std::nullopt);
  const bool attention_bias = flag(config, "attention_bias", false);
  const AttentionShape attention{.hidden = hidden,
                                 .heads = heads.heads,
                                 .kv_heads = heads.kv_heads,
                                 .head_dim = heads.head_dim,
                                 .qkv_bias = attention_bias,
                                 .o_bias = attention_bias,
                                 .rope = read_rope(config, heads.head_dim)};
  const MlpShape mlp{.hidden = hidden,
                     .width = dimension(config, "intermediate_size", 11008),
                     .act = activation(config, "hidden_act", Act::silu),
                     .bias = flag(config, "mlp_bias", false)};

  builder.spec.family = "llama";
  builder.vocabulary({"model.embed_tokens.weight"}, dimension(config, "vocab_size", 32000), hidden,
                     flag(config, "tie_word_embeddings", false));
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    Sublayer mixing{builder.rms_norm(layer + "input_layernorm.weight", hidden, eps),
                    {attention_block(builder, layer + "self_attn.", attention)}};
    Sublayer feeding{builder.rms_norm(layer + "post_attention_layernorm.weight", hidden, eps),
                     {gated_mlp_block(builder, layer + "mlp.", mlp)}};
    builder.spec.layers.push_back({{std::move(mixing), std::move(feeding)}});
  }
  builder.spec.final_norm = builder.rms_norm("model.norm.weight", hidden, eps);
  return builder.finish();
}

}  // namespace tidemark
