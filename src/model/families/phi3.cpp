// Phi-3: Llama with fused projections, a sliding window and long rotary factors.
// transformers: configuration_phi3.py, modeling_phi3.py.
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"

namespace tidemark {

ModelSpec make_phi3(const Json& config) {
  SpecBuilder builder(config);
  const int64_t hidden = dimension(config, "hidden_size", 3072);
  const int64_t layers = dimension(config, "num_hidden_layers", 32, max_layers);
  const double eps = positive(config, "rms_norm_eps", 1e-5);
  const Heads heads = read_heads(config, hidden, 32, std::nullopt);
  const AttentionShape attention{
      .hidden = hidden,
      .heads = heads.heads,
      .kv_heads = heads.kv_heads,
      .head_dim = heads.head_dim,
      .rope = read_rope(config, heads.head_dim,
                        {.partial = true,
                         .max_positions = 4096,
                         .original_positions = 4096,
                         .longrope_alone = true}),
      .window = config.has("sliding_window") ? dimension(config, "sliding_window", 0) : 0,
      .fused_qkv = true};
  const MlpShape mlp{.hidden = hidden,
                     .width = dimension(config, "intermediate_size", 8192),
                     .act = activation(config, "hidden_act", Act::silu),
                     .fused = "gate_up_proj"};

  builder.spec.family = "phi3";
  builder.vocabulary({"model.embed_tokens.weight"}, dimension(config, "vocab_size", 32064), hidden,
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
