// Qwen2 and Qwen2.5: Llama with q, k, v biases and, in some layers, a sliding window.
// transformers: configuration_qwen2.py, modeling_qwen2.py.
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"

namespace tidemark {
namespace {

// Positions each layer sees; 0 for all.
std::vector<int64_t> read_windows(const Json& config, int64_t layers) {
  const int64_t window =
      flag(config, "use_sliding_window", false) ? dimension(config, "sliding_window", 4096) : 0;
  std::vector<int64_t> windows(static_cast<size_t>(layers), 0);
  if (config.has("layer_types")) {
    const Json types = config["layer_types"];
    if (types.size() != windows.size())
      types.fail_expected("num_hidden_layers " + std::to_string(layers) + " elements");
    for (size_t i = 0; i < windows.size(); ++i) {
      const std::string type = types[i].string();
      if (type == "sliding_attention" && window > 0) {
        windows[i] = window;
      } else if (type == "sliding_attention") {
        types[i].fail_expected("full_attention, as use_sliding_window is false");
      } else if (type != "full_attention" && type != "attention") {
        types[i].fail_expected("full_attention or sliding_attention");
      }
    }
    return windows;
  }
  const int64_t first =
      config.has("max_window_layers") ? config["max_window_layers"].integer(0) : 28;
  for (int64_t i = first; i < layers; ++i) windows[static_cast<size_t>(i)] = window;
  return windows;
}

}  // namespace

ModelSpec make_qwen2(const Json& config) {
  SpecBuilder builder;
  const int64_t hidden = dimension(config, "hidden_size", 4096);
  const int64_t layers = dimension(config, "num_hidden_layers", 32, max_layers);
  const double eps = positive(config, "rms_norm_eps", 1e-6);
  const Heads heads = read_heads(config, hidden, 32, 32);
  AttentionShape attention{.hidden = hidden,
                           .heads = heads.heads,
                           .kv_heads = heads.kv_heads,
                           .head_dim = heads.head_dim,
                           .qkv_bias = true,
                           .rope = read_rope(config, heads.head_dim)};
  const MlpShape mlp{.hidden = hidden,
                     .width = dimension(config, "intermediate_size", 22016),
                     .act = activation(config, "hidden_act", Act::silu)};
  const std::vector<int64_t> windows = read_windows(config, layers);

  builder.spec.family = "qwen2";
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
  return builder.finish(config);
}

}  // namespace tidemark
