// Qwen3: Qwen2 with a norm on every query and key head instead of biases.
// transformers: configuration_qwen3.py, modeling_qwen3.py.
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"

namespace tidemark {

ModelSpec make_qwen3(const Json& config) {
  SpecBuilder builder(config);
  const int64_t hidden = dimension(config, "hidden_size", 4096);
  const int64_t layers = dimension(config, "num_hidden_layers", 32, max_layers);
  const double eps = positive(config, "rms_norm_eps", 1e-6);
  const int64_t head_dim = dimension(config, "head_dim", 128, max_head_dim);
  const Heads heads = read_heads(config, hidden, 32, 32, head_dim);
  const bool bias = flag(config, "attention_bias", false);
  AttentionShape attention{.hidden = hidden,
                           .heads = heads.heads,
                           .kv_heads = heads.kv_heads,
                           .head_dim = head_dim,
                           .qkv_bias = bias,
                           .o_bias = bias,
                           .rope = read_rope(config, head_dim, {.max_positions = 32768}),
                           .q_norm = "q_norm",
                           .k_norm = "k_norm",
                           .norm_eps = eps};
  const MlpShape mlp{.hidden = hidden,
                     .width = dimension(config, "intermediate_size", 22016),
                     .act = activation(config, "hidden_act", Act::silu)};
  const std::vector<int64_t> windows = read_qwen_windows(config, layers);

  builder.spec.family = "qwen3";
  builder.vocabulary({"model.embed_tokens.weight"}, dimension(config, "vocab_size", 151936), hidden,
                     flag(config, "tie_word_embeddings", false));
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    attention.window = windows[static_cast<size_t>(i)];
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
