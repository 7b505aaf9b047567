// Qwen2 and Qwen2.5: Llama with q, k, v biases and, in some layers, a sliding window.
// transformers: configuration_qwen2.py, modeling_qwen2.py.
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"

namespace tidemark {

ModelSpec make_qwen2(const Json& config) {
  SpecBuilder builder(config);
  const int64_t hidden = dimension(config, "hidden_size", 4096);
  const int64_t layers = dimension(config, "num_hidden_layers", 32, max_layers);
  const double eps = positive(config, "rms_norm_eps", 1e-6);
  const Heads heads = read_heads(config, hidden, 32, 32);
  AttentionShape attention{.hidden = hidden,
                           .heads = heads.heads,
                           .kv_heads = heads.kv_heads,
                           .head_dim = heads.head_dim,
                           .qkv_bias = true,
                           .rope = read_rope(config, heads.head_dim, {.max_positions = 32768})};
  const MlpShape mlp{.hidden = hidden,
                     .width = dimension(config, "intermediate_size", 22016),
                     .act = activation(config, "hidden_act", Act::silu)};
  const std::vector<int64_t> windows = read_qwen_windows(config, layers);

  builder.spec.family = "qwen2";
  if (config.has("sliding_window"))
    builder.spec.declared_window = config["sliding_window"].integer(0, max_dimension);
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
