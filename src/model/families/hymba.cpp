// Hymba (arXiv 2411.13676): attention heads and a Mamba-1 head in parallel on one projection, meta
// tokens before every prompt, local attention but in a few layers, K and V shared between layers.
// Layout: nvidia/Hymba-1.5B-Base.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"

namespace tidemark {
namespace {

std::optional<RopeSpec> read_positions(const Json& config, int64_t head_dim) {
  if (!flag(config, "rope", true)) return std::nullopt;
  double theta = positive(config, "rope_theta", 10000);
  const auto dim = static_cast<double>(head_dim);
  if (config.has("rope_type")) {
    const std::string type = config["rope_type"].string();
    if (type == "ntk") {
      const double now = positive(config, "max_position_embeddings", 8192);
      const double before = positive(config, "orig_max_position_embeddings", 2048);
      theta *= std::pow(2 * now / before - 1, dim / (dim - 2));
    } else if (type != "default") {
      config["rope_type"].fail_expected("ntk or default");
    }
  }
  if (head_dim % 2 != 0 || head_dim < 4)
    fail("{}: expected an even head width of at least 4, found {}", config.where(), head_dim);
  RopeSpec rope{.rotary_dim = head_dim, .inv_freq = {}, .long_inv_freq = {}};
  for (int64_t i = 0; i < head_dim; i += 2)
    rope.inv_freq.push_back(std::pow(theta, -static_cast<double>(i) / dim));
  return rope;
}

// Of keys that can ask for another model than is made here.
void refuse_other_models(const Json& config, int64_t hidden, int64_t head_dim, int64_t value_dim) {
  for (const char* key : {"mamba_inner_layernorms", "mamba_conv_bias", "modify_attention_mask"})
    require_flag(config, key, true);
  for (const char* key : {"mamba_proj_bias", "kv_weight_reuse"}) require_flag(config, key, false);
  require_silu(config, "hidden_act");
  if (config.has("kq_norm") && config["kq_norm"].string() != "none")
    config["kq_norm"].fail_expected("none");
  for (const char* key : {"num_experts", "num_mamba"})
    if (dimension(config, key, 1) != 1) config[key].fail_expected("1");
  // Not positive: as if it were not there.
  const auto require = [&](const char* key, int64_t value, std::string_view expected) {
    if (!config.has(key)) return;
    const int64_t found = config[key].integer();
    if (found > 0 && found != value) config[key].fail_expected(expected);
  };
  require("memory_tokens_interspersed_every", 0, "0");
  require("kv_reuse_every_i_layer", 0, "-1");
  require("attn_hidden_size", hidden, fmt::format("-1 or hidden_size {}", hidden));
  require("kq_head_dim", head_dim,
          fmt::format("-1 or hidden_size / num_attention_heads {}", head_dim));
  require("v_head_dim", value_dim,
          fmt::format("-1 or mamba_expand * hidden_size / num_attention_heads {}", value_dim));
  if (config.has("rope_scaling")) config["rope_scaling"].fail_expected("null");
  if (!config.has("layer_type")) return;
  const Json types = config["layer_type"];
  for (size_t i = 0; i < types.size(); ++i)
    if (types[i].string() != "h") types[i].fail_expected("h");
}

// By layer the one whose K and V it reads, or -1.
std::vector<int32_t> read_producers(const Json& config, int64_t layers) {
  std::vector<int32_t> producers(static_cast<size_t>(layers), -1);
  if (!config.has("kv_reuse_group")) return producers;
  const Json groups = config["kv_reuse_group"];
  for (size_t g = 0; g < groups.size(); ++g) {
    int64_t first = -1, last = -1;
    for (size_t i = 0; i < groups[g].size(); ++i) {
      const Json member = groups[g][i];
      const int64_t layer = member.integer(0);
      if (layer >= layers) continue;  // of a model cut short
      if (layer <= last) member.fail_expected("layers in ascending order");
      last = layer;
      if (first < 0)
        first = layer;
      else if (producers[static_cast<size_t>(layer)] >= 0)
        member.fail_expected("a layer in one group only");
      else
        producers[static_cast<size_t>(layer)] = static_cast<int32_t>(first);
    }
  }
  for (const int32_t producer : producers)
    if (producer >= 0 && producers[static_cast<size_t>(producer)] >= 0)
      groups.fail_expected("groups that share no layer");
  return producers;
}

}  // namespace

ModelSpec make_hymba(const Json& config) {
  SpecBuilder builder(config);
  const int64_t hidden = dimension(config, "hidden_size", 1600);
  const int64_t layers = dimension(config, "num_hidden_layers", 32, max_layers);
  const double eps = positive(config, "rms_norm_eps", 1e-6);
  const Heads heads = read_heads(config, hidden, 25, 5);
  const int64_t inner =
      product(config, "mamba_expand", hidden, dimension(config, "mamba_expand", 2));
  check_divides(config, "num_attention_heads", heads.heads, hidden, "hidden_size");
  check_divides(config, "num_attention_heads", heads.heads, inner, "mamba_expand * hidden_size");
  refuse_other_models(config, hidden, hidden / heads.heads, inner / heads.heads);
  AttentionBlock attention;
  attention.heads = heads.heads;
  attention.kv_heads = heads.kv_heads;
  attention.head_dim = hidden / heads.heads;
  attention.value_dim = inner / heads.heads;
  attention.scale = 1 / std::sqrt(static_cast<double>(attention.head_dim));
  attention.rope = read_positions(config, attention.head_dim);
  const Mamba1Shape mamba{.hidden = hidden,
                          .inner = inner,
                          .state = dimension(config, "mamba_d_state", 16),
                          .conv_width = dimension(config, "mamba_d_conv", 4),
                          .dt_rank = read_dt_rank(config, "mamba_dt_rank", hidden),
                          .list_index = ".0",
                          .own_projections = false};
  const MlpShape mlp{.hidden = hidden,
                     .width = dimension(config, "intermediate_size", 5504),
                     .act = activation(config, "mlp_hidden_act", Act::silu)};
  // Of each layer's own position the reference sees `sliding_window` keys back, and itself; with an
  // explicit null every layer is global.
  const int64_t window =
      config.has_null("sliding_window") ? 0 : dimension(config, "sliding_window", 1024) + 1;
  const int64_t meta =
      config.has("num_memory_tokens") ? config["num_memory_tokens"].integer(0, max_dimension) : 0;
  const std::vector<bool> global = read_layer_flags(config, "global_attn_idx", layers);
  const std::vector<int32_t> producers = read_producers(config, layers);

  builder.spec.family = "hymba";
  const int64_t vocab = dimension(config, "vocab_size", 32001);
  builder.vocabulary({"model.embed_tokens.weight"}, vocab, hidden,
                     flag(config, "tie_word_embeddings", true));
  if (meta > 0) {
    Weight& table = builder.spec.weights[static_cast<size_t>(builder.spec.embedding)];
    table.rows += meta;
    table.parts.push_back({{"model.memory_tokens"}, {meta, hidden}, 0, meta});
    builder.spec.meta_tokens = meta;
  }
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    const std::string mixer = layer + "mamba.";
    ParallelHeadsBlock block;
    block.attention = attention;
    block.attention.kv_from_layer = producers[static_cast<size_t>(i)];
    if (window > 0 && !global[static_cast<size_t>(i)]) {
      block.attention.window = window;
      block.attention.sinks = meta;
    }
    const int64_t kv_rows = block.attention.kv_from_layer >= 0
                                ? 0
                                : heads.kv_heads * (attention.head_dim + attention.value_dim);
    block.in_proj = builder.matrix(mixer + "in_proj.weight", hidden + kv_rows + 2 * inner, hidden);
    block.mamba = mamba1_block(builder, mixer, mamba);
    block.mamba.dt_norm = builder.rms_norm(mixer + "dt_layernorm.weight", mamba.dt_rank, eps);
    block.mamba.b_norm = builder.rms_norm(mixer + "B_layernorm.weight", mamba.state, eps);
    block.mamba.c_norm = builder.rms_norm(mixer + "C_layernorm.weight", mamba.state, eps);
    block.attention_norm = builder.rms_norm(mixer + "pre_avg_layernorm1.weight", inner, eps);
    builder.spec.weights.back().parts.front().scale = 0.5F;  // the mean of both branches
    block.mamba_norm = builder.rms_norm(mixer + "pre_avg_layernorm2.weight", inner, eps);
    builder.spec.weights.back().parts.front().scale = 0.5F;
    block.out_proj = builder.matrix(mixer + "out_proj.weight", hidden, inner);
    Sublayer mixing{builder.rms_norm(layer + "input_layernorm.weight", hidden, eps),
                    {std::move(block)}};
    Sublayer feeding{builder.rms_norm(layer + "pre_moe_layernorm.weight", hidden, eps),
                     {gated_mlp_block(builder, layer + "moe.experts.0.", mlp)}};
    builder.spec.layers.push_back({{std::move(mixing), std::move(feeding)}});
  }
  builder.spec.final_norm = builder.rms_norm("model.final_layernorm.weight", hidden, eps);
  return builder.finish();
}

}  // namespace tidemark
