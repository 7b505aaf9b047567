// Zamba2 (arXiv 2411.15242): Mamba-2 layers; before some of them a transformer block that they
// share reads the stream beside the embedding, with low-rank adapters of each use's own.
// transformers: configuration_zamba2.py, modeling_zamba2.py.
#include <cmath>

#include "base/error.h"
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"

namespace tidemark {
namespace {

struct SideShape {
  int64_t hidden = 0, blocks = 1, rank = 0;
  AttentionShape attention;
  MlpShape mlp;
  bool attention_adapters = false;
  double eps = 1e-5;
};

// Absent they are those of the 2.7b model, where that has as many layers.
std::vector<std::string> read_kinds(const Json& config, int64_t layers) {
  if (config.has("layers_block_type") || layers != 54)
    return read_layer_kinds(config, "layers_block_type", layers);
  std::vector<std::string> kinds(54, "linear_attention");
  for (const size_t hybrid : {6, 12, 18, 24, 30, 36, 42, 47, 51}) kinds[hybrid] = "hybrid";
  return kinds;
}

// use_long_context is no more than a number of positions since transformers 5. Before, it changed
// rope_theta, which then stands outside rope_parameters.
RopeSpec read_positions(const Json& config, int64_t head_dim) {
  if (!flag(config, "use_long_context", false))
    return read_rope(config, head_dim, {.max_positions = 4096});
  if (!config.has("rope_parameters"))
    config["use_long_context"].fail_expected("false where there are no rope_parameters");
  constexpr int64_t positions = 16384;
  if (dimension(config, "max_position_embeddings", positions) != positions)
    config["max_position_embeddings"].fail_expected(
        fmt::format("{}, as use_long_context is true", positions));
  return read_rope(config, head_dim, {.max_positions = positions});
}

SideShape read_side(const Json& config, int64_t hidden, double eps) {
  SideShape side;
  side.hidden = hidden;
  side.eps = eps;
  side.blocks = dimension(config, "num_mem_blocks", 1, max_layers);
  side.rank = dimension(config, "adapter_rank", 128);
  side.attention_adapters = flag(config, "use_shared_attention_adapter", false);
  const int64_t wide = product(config, "hidden_size", hidden, 2);
  if (dimension(config, "attention_hidden_size", wide) != wide)
    config["attention_hidden_size"].fail_expected(fmt::format("2 * hidden_size {}", wide));
  const int64_t heads = dimension(config, "num_attention_heads", 32, max_heads);
  check_divides(config, "num_attention_heads", heads, wide, "2 * hidden_size");
  const int64_t kv_heads = dimension(config, "num_key_value_heads", heads, max_heads);
  check_divides(config, "num_key_value_heads", kv_heads, heads, "num_attention_heads");
  if (side.attention_adapters && kv_heads != heads)
    config["num_key_value_heads"].fail_expected(
        fmt::format("num_attention_heads {}, as adapters are used", heads));
  const int64_t head_dim = wide / heads;
  side.attention = {.hidden = hidden,
                    .heads = heads,
                    .kv_heads = kv_heads,
                    .head_dim = head_dim,
                    .score_scale = 1 / std::sqrt(static_cast<double>(head_dim) / 2),
                    .in_width = wide};
  if (flag(config, "use_mem_rope", false)) side.attention.rope = read_positions(config, head_dim);
  side.mlp = {.hidden = hidden,
              .width = dimension(config, "intermediate_size", 4 * hidden),
              .act = activation(config, "hidden_act", Act::gelu),
              .bias = flag(config, "add_bias_linear", false),
              .fused = "gate_up_proj"};
  return side;
}

// What all uses of one block share, under the layer that uses it first.
SideTransformer shared_block(SpecBuilder& builder, const std::string& prefix,
                             const SideShape& shape) {
  SideTransformer side;
  side.norm = builder.rms_norm(prefix + "input_layernorm.weight", 2 * shape.hidden, shape.eps);
  side.attention = attention_block(builder, prefix + "self_attn.", shape.attention);
  side.mlp_norm = builder.rms_norm(prefix + "pre_ff_layernorm.weight", shape.hidden, shape.eps);
  side.mlp = gated_mlp_block(builder, prefix + "feed_forward.", shape.mlp);
  return side;
}

// Adapters of the `use`-th use: each a pair of matrices, here with the first of them stacked.
Adapter adapter(SpecBuilder& builder, const std::string& name, const std::vector<std::string>& each,
                int64_t use, int64_t in_width, int64_t rank, int64_t out_width) {
  Adapter out;
  const std::string index = std::to_string(use);
  std::vector<Part> down;
  for (const std::string& one : each) down.push_back({one + index + ".0.weight", rank});
  out.down = builder.stacked(name + index + ".down", in_width, Draw::linear, down);
  for (const std::string& one : each)
    out.up.push_back(builder.matrix(one + index + ".1.weight", out_width, rank));
  return out;
}

}  // namespace

ModelSpec make_zamba2(const Json& config) {
  SpecBuilder builder(config);
  const int64_t hidden = dimension(config, "hidden_size", 2560);
  const int64_t layers = dimension(config, "num_hidden_layers", 54, max_layers);
  const double eps = positive(config, "rms_norm_eps", 1e-5);
  const bool bias = flag(config, "add_bias_linear", false);
  Mamba2Shape mamba;
  mamba.hidden = hidden;
  const int64_t inner =
      product(config, "mamba_expand", hidden, dimension(config, "mamba_expand", 2));
  mamba.heads = dimension(config, "n_mamba_heads", 8, max_heads);
  check_divides(config, "n_mamba_heads", mamba.heads, inner, "mamba_expand * hidden_size");
  mamba.head_dim = inner / mamba.heads;
  if (config.has("mamba_headdim") && config["mamba_headdim"].integer() != mamba.head_dim)
    config["mamba_headdim"].fail_expected(
        fmt::format("mamba_expand * hidden_size {} / n_mamba_heads {}", inner, mamba.heads));
  mamba.state = dimension(config, "mamba_d_state", 64);
  mamba.groups = mamba.norm_groups = dimension(config, "mamba_ngroups", 1);
  check_divides(config, "mamba_ngroups", mamba.groups, mamba.heads, "n_mamba_heads");
  product(config, "mamba_ngroups", mamba.groups, mamba.state);
  mamba.conv_width = dimension(config, "mamba_d_conv", 4);
  mamba.chunk = dimension(config, "chunk_size", 256);
  // The reference clamps the step from below by time_step_min, and not by time_step_limit.
  mamba.dt_min = positive(config, "time_step_min", 0.001);
  mamba.in_bias = mamba.out_bias = bias;
  mamba.norm_eps = 1e-5;
  SideShape side = read_side(config, hidden, eps);
  const std::vector<std::string> kinds = read_kinds(config, layers);
  // transformers (5.x) shares the blocks by the means that tie the head: without that, a checkpoint
  // holds a block for every use.
  const bool tied = flag(config, "tie_word_embeddings", true);
  if (!tied) side.blocks = layers;

  builder.spec.family = "zamba2";
  builder.vocabulary({"model.embed_tokens.weight"}, dimension(config, "vocab_size", 32000), hidden,
                     tied);
  std::vector<SideTransformer> shared;
  std::vector<std::string> shared_prefix;
  int64_t use = 0;
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    const std::string& kind = kinds[static_cast<size_t>(i)];
    if (kind != "hybrid" && kind != "linear_attention")
      config["layers_block_type"][static_cast<size_t>(i)].fail_expected(
          "linear_attention or hybrid");
    const bool hybrid = kind == "hybrid";
    const std::string own = hybrid ? layer + "mamba_decoder." : layer;
    Sublayer mixing{builder.rms_norm(own + "input_layernorm.weight", hidden, eps),
                    {mamba2_block(builder, own + "mamba.", mamba)}};
    if (hybrid) {
      const auto block = static_cast<size_t>(use % side.blocks);
      if (block == shared.size()) {
        shared_prefix.push_back(layer + "shared_transformer.");
        shared.push_back(shared_block(builder, shared_prefix.back(), side));
      }
      SideTransformer transformer = shared[block];
      const std::string feed = shared_prefix[block] + "feed_forward.";
      const std::string attn = shared_prefix[block] + "self_attn.";
      transformer.mlp.adapter =
          adapter(builder, feed + "adapter.", {feed + "gate_up_proj_adapter_list."}, use, hidden,
                  side.rank, 2 * side.mlp.width);
      if (side.attention_adapters)
        transformer.attention.adapter =
            adapter(builder, attn + "adapter.",
                    {attn + "linear_q_adapter_list.", attn + "linear_k_adapter_list.",
                     attn + "linear_v_adapter_list."},
                    use, 2 * hidden, side.rank, 2 * hidden);
      transformer.linear = builder.matrix(layer + "linear.weight", hidden, hidden);
      mixing.side = std::move(transformer);
      ++use;
    }
    builder.spec.layers.push_back({{std::move(mixing)}});
  }
  builder.spec.final_norm = builder.rms_norm("model.final_layernorm.weight", hidden, eps);
  return builder.finish();
}

}  // namespace tidemark
