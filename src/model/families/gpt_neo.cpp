// GPT-Neo: learned positions, LayerNorm, global and local attention in turn, scores not scaled.
// transformers: configuration_gpt_neo.py, modeling_gpt_neo.py.
#include "base/error.h"
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"

namespace tidemark {
namespace {

// "global" or "local" per layer: spelled out in attention_layers, else attention_types has runs
// [[kinds...], times].
std::vector<bool> read_local(const Json& config, std::string_view layers_key, int64_t layers) {
  std::vector<bool> local;
  const auto add = [&](const Json& kind) {
    const std::string name = kind.string();
    if (name != "global" && name != "local") kind.fail_expected("global or local");
    local.push_back(name == "local");
  };
  if (config.has("attention_layers")) {
    const Json list = config["attention_layers"];
    for (size_t i = 0; i < list.size(); ++i) add(list[i]);
  } else if (config.has("attention_types")) {
    const Json runs = config["attention_types"];
    for (size_t i = 0; i < runs.size(); ++i) {
      if (runs[i].size() != 2) runs[i].fail_expected("[[kinds...], times]");
      const Json kinds = runs[i][size_t{0}];
      for (int64_t times = runs[i][size_t{1}].integer(1, max_layers); times > 0; --times)
        for (size_t k = 0; k < kinds.size(); ++k) add(kinds[k]);
    }
  } else {
    for (int64_t i = 0; i < layers; ++i) local.push_back(i % 2 == 1);
  }
  if (static_cast<int64_t>(local.size()) != layers)
    fail("{}: key '{}': expected as many as attention kinds {}, found {}", config.where(),
         layers_key, local.size(), layers);
  return local;
}

}  // namespace

ModelSpec make_gpt_neo(const Json& config) {
  SpecBuilder builder(config);
  const int64_t hidden = dimension(config, "hidden_size", 2048);
  const std::string_view layers_key = key_of(config, "num_layers", "num_hidden_layers");
  const int64_t layers = dimension(config, layers_key, 24, max_layers);
  const double eps = positive(config, "layer_norm_epsilon", 1e-5);
  const std::string_view heads_key = key_of(config, "num_heads", "num_attention_heads");
  const int64_t heads = dimension(config, heads_key, 16, max_heads);
  check_divides(config, heads_key, heads, hidden, "hidden_size");
  AttentionShape attention{.hidden = hidden,
                           .heads = heads,
                           .kv_heads = heads,
                           .head_dim = hidden / heads,
                           .o_bias = true,
                           .score_scale = 1,
                           .out = "out_proj"};
  const MlpShape mlp{.hidden = hidden,
                     .width = config.has("intermediate_size")
                                  ? dimension(config, "intermediate_size", 0)
                                  : product(config, "hidden_size", hidden, 4),
                     .act = activation(config, "activation_function", Act::gelu_tanh),
                     .bias = true,
                     .up = "c_fc",
                     .down = "c_proj"};
  const int64_t window = dimension(config, "window_size", 256);
  const std::vector<bool> local = read_local(config, layers_key, layers);

  builder.spec.family = "gpt_neo";
  builder.vocabulary({"transformer.wte.weight"}, dimension(config, "vocab_size", 50257), hidden,
                     flag(config, "tie_word_embeddings", true));
  builder.spec.positions = builder.matrix(
      "transformer.wpe.weight", dimension(config, "max_position_embeddings", 2048), hidden);
  builder.spec.weights.back().draw = Draw::embedding;
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = "transformer.h." + std::to_string(i) + ".";
    attention.window = local[static_cast<size_t>(i)] ? window : 0;
    Sublayer mixing{builder.layer_norm(layer + "ln_1.", hidden, eps),
                    {attention_block(builder, layer + "attn.attention.", attention)}};
    Sublayer feeding{builder.layer_norm(layer + "ln_2.", hidden, eps),
                     {plain_mlp_block(builder, layer + "mlp.", mlp)}};
    builder.spec.layers.push_back({{std::move(mixing), std::move(feeding)}});
  }
  builder.spec.final_norm = builder.layer_norm("transformer.ln_f.", hidden, eps);
  return builder.finish();
}

}  // namespace tidemark
