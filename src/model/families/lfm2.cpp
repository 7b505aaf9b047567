// LFM2: short convolutions between gates, with attention between, an MLP after each.
// transformers: configuration_lfm2.py, modeling_lfm2.py.
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"

namespace tidemark {
namespace {

// Two thirds of the configured width, times a factor, up to the next multiple.
int64_t read_mlp_width(const Json& config) {
  const char* key = config.has("block_ff_dim") ? "block_ff_dim" : "intermediate_size";
  int64_t width = dimension(config, key, 12288);
  if (!flag(config, "block_auto_adjust_ff_dim", true)) return width;
  width = 2 * width / 3;
  const double factor = positive(config, "block_ffn_dim_multiplier", 1);
  const int64_t multiple = dimension(config, "block_multiple_of", 256);
  width = static_cast<int64_t>(factor * static_cast<double>(width));
  width = (width + multiple - 1) / multiple * multiple;
  if (width < 1 || width > max_dimension) config[key].fail_expected("a width after adjustment");
  return width;
}

std::vector<bool> read_attends(const Json& config, int64_t layers) {
  std::vector<bool> attends(static_cast<size_t>(layers), true);
  if (config.has("layer_types")) {
    const std::vector<std::string> kinds = read_layer_kinds(config, "layer_types", layers);
    for (size_t i = 0; i < kinds.size(); ++i) {
      attends[i] = kinds[i] == "full_attention";
      if (!attends[i] && kinds[i] != "conv")
        config["layer_types"][i].fail_expected("conv or full_attention");
    }
  } else if (config.has("full_attn_idxs")) {
    attends = read_layer_flags(config, "full_attn_idxs", layers);
  }
  return attends;
}

}  // namespace

ModelSpec make_lfm2(const Json& config) {
  SpecBuilder builder(config);
  const int64_t hidden = dimension(config, "hidden_size", 2560);
  const int64_t layers = dimension(config, "num_hidden_layers", 32, max_layers);
  const double eps = positive(config, "norm_eps", 1e-5);
  const Heads heads = read_heads(config, hidden, 32, 8);
  const char* theta = config.has("theta") ? "theta" : "rope_theta";
  const AttentionShape attention{
      .hidden = hidden,
      .heads = heads.heads,
      .kv_heads = heads.kv_heads,
      .head_dim = heads.head_dim,
      .rope = read_rope(config, heads.head_dim,
                        {.theta = positive(config, theta, 1e6), .max_positions = 128000}),
      .out = "out_proj",
      .q_norm = "q_layernorm",
      .k_norm = "k_layernorm",
      .norm_eps = eps};
  const MlpShape mlp{
      .hidden = hidden, .width = read_mlp_width(config), .gate = "w1", .up = "w3", .down = "w2"};
  const int64_t conv_width = dimension(config, "conv_L_cache", 3);
  const bool conv_bias = flag(config, "conv_bias", false);
  const std::vector<bool> attends = read_attends(config, layers);

  builder.spec.family = "lfm2";
  const char* tied = config.has("tie_embedding") ? "tie_embedding" : "tie_word_embeddings";
  builder.vocabulary({"model.embed_tokens.weight"}, dimension(config, "vocab_size", 65536), hidden,
                     flag(config, tied, true));
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    Sublayer mixing{builder.rms_norm(layer + "operator_norm.weight", hidden, eps), {}};
    if (attends[static_cast<size_t>(i)])
      mixing.parallel.push_back(attention_block(builder, layer + "self_attn.", attention));
    else
      mixing.parallel.push_back(short_conv_block(
          builder, layer + "conv.", {.width = hidden, .conv_width = conv_width}, conv_bias));
    Sublayer feeding{builder.rms_norm(layer + "ffn_norm.weight", hidden, eps),
                     {gated_mlp_block(builder, layer + "feed_forward.", mlp)}};
    builder.spec.layers.push_back({{std::move(mixing), std::move(feeding)}});
  }
  builder.spec.final_norm = builder.rms_norm("model.embedding_norm.weight", hidden, eps);
  return builder.finish();
}

}  // namespace tidemark
