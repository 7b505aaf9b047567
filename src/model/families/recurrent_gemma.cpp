// RecurrentGemma (Griffin, arXiv 2402.19427): RG-LRU blocks with local attention between.
// transformers: configuration_recurrent_gemma.py, modeling_recurrent_gemma.py.
#include <cmath>

#include "base/bf16.h"
#include "base/error.h"
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"

namespace tidemark {
ModelSpec make_recurrent_gemma(const Json& config) {
  SpecBuilder builder(config);
  const int64_t hidden = dimension(config, "hidden_size", 2560);
  const int64_t layers = dimension(config, "num_hidden_layers", 26, max_layers);
  const double eps = positive(config, "rms_norm_eps", 1e-6);
  const Heads heads = read_heads(config, hidden, 10, std::nullopt);
  const Act act = activation(config, "hidden_activation", Act::gelu_tanh);
  const RopeSpec rope =
      read_rope(config, heads.head_dim, {.fraction = 0.5, .partial = true, .max_positions = 0});
  if (2 * rope.rotary_dim > heads.head_dim)  // it takes a head apart into equal parts
    config["partial_rotary_factor"].fail_expected("an even part of the head");
  const std::string_view window = key_of(config, "attention_window_size", "sliding_window");
  const AttentionShape attention{.hidden = hidden,
                                 .heads = heads.heads,
                                 .kv_heads = heads.kv_heads,
                                 .head_dim = heads.head_dim,
                                 .qkv_bias = flag(config, "attention_bias", false),
                                 .o_bias = true,
                                 .rope = rope,
                                 .window = dimension(config, window, 2048)};
  const RgLruBlock lru{.width = dimension(config, "lru_width", hidden),
                       .heads = heads.heads,
                       .conv_width = dimension(config, "conv1d_width", 4),
                       .act = act};
  check_divides(config, "num_attention_heads", heads.heads, lru.width, "lru_width");
  const int64_t mlp_width = dimension(config, "intermediate_size", 7680);
  const MlpShape mlp{.hidden = hidden, .width = mlp_width / 2, .act = act, .bias = true};
  if (mlp.width == 0) config["intermediate_size"].fail_expected("at least 2");
  std::vector<std::string> kinds = {"recurrent", "recurrent", "attention"};
  if (config.has("block_types")) {
    kinds.clear();
    const Json list = config["block_types"];
    for (size_t i = 0; i < list.size(); ++i) {
      kinds.push_back(list[i].string());
      if (kinds.back() != "recurrent" && kinds.back() != "attention")
        list[i].fail_expected("recurrent or attention");
    }
    if (kinds.empty()) list.fail_expected("at least one kind of block");
  }

  builder.spec.family = "recurrent_gemma";
  builder.vocabulary({"model.embed_tokens.weight"}, dimension(config, "vocab_size", 256000), hidden,
                     flag(config, "tie_word_embeddings", true));
  // transformers keeps the factor in bf16.
  builder.spec.embedding_scale =
      static_cast<double>(static_cast<float>(Bf16(std::sqrt(static_cast<float>(hidden)))));
  builder.spec.logits_cap = positive(config, "logits_soft_cap", 30);
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    const bool recurrent = kinds[static_cast<size_t>(i) % kinds.size()] == "recurrent";
    Sublayer mixing{builder.rms_norm(layer + "temporal_pre_norm.weight", hidden, eps, 1), {}};
    if (recurrent)
      mixing.parallel.push_back(rg_lru_block(builder, layer + "temporal_block.", lru, hidden));
    else
      mixing.parallel.push_back(attention_block(builder, layer + "temporal_block.", attention));
    Sublayer feeding{builder.rms_norm(layer + "channel_pre_norm.weight", hidden, eps, 1),
                     {gated_mlp_block(builder, layer + "mlp_block.", mlp)}};
    builder.spec.layers.push_back({{std::move(mixing), std::move(feeding)}});
  }
  builder.spec.final_norm = builder.rms_norm("model.final_norm.weight", hidden, eps, 1);
  return builder.finish();
}

}  // namespace tidemark
