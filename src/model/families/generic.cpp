// A model written as the blocks it is made of, for architectures that no family here describes, or
// that nobody has trained yet. Keys: docs/models.md, "A model of generic blocks". Unlike a
// published config this one has no defaults of a library behind it: dimensions must be given, and a
// key that is not known is refused.
#include <algorithm>
#include <set>

#include "base/error.h"
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"

namespace tidemark {
namespace {

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + printable(name);
  return text;
}

void expect_keys(const Json& object, const std::vector<std::string>& known) {
  for (const std::string& key : object.keys())
    if (std::find(known.begin(), known.end(), key) == known.end())
      fail("{}: expected keys among {}, found '{}'", object.where(), listed(known), printable(key));
}

// A part of tensors' names.
std::string name_in(const Json& text) {
  const std::string name = text.string();
  if (name.empty() || name != printable(name)) text.fail_expected("a printable name");
  return name;
}

int64_t required(const Json& object, std::string_view key, int64_t most = max_dimension) {
  return object[key].integer(1, most);
}

int64_t at_least_0(const Json& object, std::string_view key) {
  return object.has(key) ? object[key].integer(0, max_dimension) : 0;
}

// What every norm of the model is.
struct Norms {
  NormKind kind = NormKind::rms;
  double eps = 1e-5, offset = 0;

  // `name` of a whole tensor's path without "weight".
  NormSpec make(SpecBuilder& builder, const std::string& name, int64_t width) const {
    return kind == NormKind::layer ? builder.layer_norm(name, width, eps)
                                   : builder.rms_norm(name + "weight", width, eps, offset);
  }
};

Norms read_norms(const Json& config) {
  Norms out;
  if (!config.has("norm")) return out;
  const Json norm = config["norm"];
  expect_keys(norm, {"type", "eps", "around_one"});
  const std::string type = norm.has("type") ? norm["type"].string() : "rms";
  if (type != "rms" && type != "layer") norm["type"].fail_expected("rms or layer");
  out.kind = type == "layer" ? NormKind::layer : NormKind::rms;
  out.eps = positive(norm, "eps", out.eps);
  out.offset = flag(norm, "around_one", false) ? 1 : 0;
  if (out.offset != 0 && out.kind == NormKind::layer)
    norm["around_one"].fail_expected("false, as the norm's type is layer");
  return out;
}

struct Model {
  const Json& config;
  int64_t hidden = 0;
  Norms norms;
};

// Each reads the block `b` and makes it under `prefix`.
Block make_attention(SpecBuilder& builder, const std::string& prefix, const Json& b,
                     const Model& model) {
  expect_keys(b, {"type", "heads", "kv_heads", "head_dim", "rope", "rope_theta", "rope_parameters",
                  "partial_rotary_factor", "max_position_embeddings", "qkv_bias", "o_bias",
                  "window", "sinks", "gated", "qk_norm", "score_scale"});
  AttentionShape shape{
      .hidden = model.hidden, .norm_eps = model.norms.eps, .norm_offset = model.norms.offset};
  shape.heads = required(b, "heads", max_heads);
  shape.kv_heads = dimension(b, "kv_heads", shape.heads, max_heads);
  check_divides(b, "kv_heads", shape.kv_heads, shape.heads, "heads");
  shape.head_dim = required(b, "head_dim", max_head_dim);
  product(b, "head_dim", shape.heads, shape.head_dim);
  if (flag(b, "rope", true)) shape.rope = read_rope(b, shape.head_dim, {.partial = true});
  shape.qkv_bias = flag(b, "qkv_bias", false);
  shape.o_bias = flag(b, "o_bias", false);
  shape.window = at_least_0(b, "window");
  shape.gated = flag(b, "gated", false);
  if (flag(b, "qk_norm", false)) {
    shape.q_norm = "q_norm";
    shape.k_norm = "k_norm";
  }
  if (b.has("score_scale")) shape.score_scale = positive(b, "score_scale", 1);
  AttentionBlock block = attention_block(builder, prefix, shape);
  block.sinks = at_least_0(b, "sinks");
  if (block.sinks > 0 && block.window == 0) b["sinks"].fail_expected("0, as there is no window");
  return block;
}

Block make_mlp(SpecBuilder& builder, const std::string& prefix, const Json& b, const Model& model) {
  expect_keys(b, {"type", "width", "act", "gated", "bias"});
  const MlpShape shape{.hidden = model.hidden,
                       .width = required(b, "width"),
                       .act = activation(b, "act", Act::silu),
                       .bias = flag(b, "bias", false)};
  return flag(b, "gated", true) ? gated_mlp_block(builder, prefix, shape)
                                : plain_mlp_block(builder, prefix, shape);
}

Block make_moe(SpecBuilder& builder, const std::string& prefix, const Json& b, const Model& model) {
  expect_keys(b, {"type", "experts", "top_k", "width", "act", "gated", "score", "choice_bias",
                  "groups", "top_groups", "normalize", "scale", "latent"});
  MoeBlock block;
  block.experts = required(b, "experts", max_experts);
  block.top_k = required(b, "top_k", block.experts);
  block.width = required(b, "width");
  block.act = activation(b, "act", Act::silu);
  block.gated = flag(b, "gated", true);
  const std::string score = b.has("score") ? b["score"].string() : "softmax";
  if (score != "softmax" && score != "sigmoid") b["score"].fail_expected("softmax or sigmoid");
  block.score = score == "sigmoid" ? RouterScore::sigmoid : RouterScore::softmax;
  block.groups = dimension(b, "groups", 1, block.experts);
  check_divides(b, "groups", block.groups, block.experts, "experts");
  block.top_groups = dimension(b, "top_groups", block.groups, block.groups);
  if (block.top_k > block.top_groups * (block.experts / block.groups))
    b["top_k"].fail_expected("at most the experts of top_groups groups");
  block.normalize = flag(b, "normalize", true);
  block.scale = finite(b, "scale", 1);
  block.expert_width = dimension(b, "latent", model.hidden);
  product(b, "experts", block.experts, 2 * block.width);
  product(b, "experts", block.experts, block.expert_width);
  return moe_block(builder, prefix, block, model.hidden,
                   {.choice_bias = flag(b, "choice_bias", false) ? "gate.choice_bias" : "",
                    .latent = b.has("latent")});
}

Block make_mamba1(SpecBuilder& builder, const std::string& prefix, const Json& b,
                  const Model& model) {
  expect_keys(
      b, {"type", "inner", "state", "dt_rank", "conv_width", "bias", "conv_bias", "param_norms"});
  const Mamba1Shape shape{.hidden = model.hidden,
                          .inner = required(b, "inner"),
                          .state = required(b, "state"),
                          .conv_width = required(b, "conv_width"),
                          .dt_rank = read_dt_rank(b, "dt_rank", model.hidden),
                          .bias = flag(b, "bias", false),
                          .conv_bias = flag(b, "conv_bias", true)};
  product(b, "state", shape.inner, shape.state);
  Mamba1Block block = mamba1_block(builder, prefix, shape);
  if (flag(b, "param_norms", false)) {
    const auto norm = [&](const char* name, int64_t width) {
      return builder.rms_norm(prefix + name + ".weight", width, model.norms.eps);
    };
    block.dt_norm = norm("dt_layernorm", shape.dt_rank);
    block.b_norm = norm("b_layernorm", shape.state);
    block.c_norm = norm("c_layernorm", shape.state);
  }
  return block;
}

Block make_mamba2(SpecBuilder& builder, const std::string& prefix, const Json& b,
                  const Model& model) {
  expect_keys(
      b, {"type", "heads", "head_dim", "state", "groups", "conv_width", "chunk", "time_step_limit",
          "bias", "conv_bias", "param_norms", "gated_norm", "norm_before_gate", "norm_groups"});
  Mamba2Shape shape{.hidden = model.hidden, .norm_eps = model.norms.eps};
  shape.heads = required(b, "heads", max_heads);
  shape.head_dim = required(b, "head_dim", max_head_dim);
  const int64_t inner = product(b, "head_dim", shape.heads, shape.head_dim);
  shape.state = required(b, "state");
  product(b, "state", inner, shape.state);
  shape.groups = dimension(b, "groups", 1);
  check_divides(b, "groups", shape.groups, shape.heads, "heads");
  product(b, "groups", shape.groups, shape.state);
  shape.conv_width = b["conv_width"].integer(0, max_dimension);
  shape.chunk = dimension(b, "chunk", 256);
  const TimeStepLimit limit = read_time_step_limit(b, "time_step_limit");
  shape.dt_min = limit.least;
  shape.dt_max = limit.most;
  shape.in_bias = shape.out_bias = flag(b, "bias", false);
  shape.conv_bias = flag(b, "conv_bias", true);
  shape.param_norms = flag(b, "param_norms", false);
  shape.gated_norm = flag(b, "gated_norm", true);
  shape.norm_before_gate = flag(b, "norm_before_gate", false);
  shape.norm_groups = dimension(b, "norm_groups", 1);
  check_divides(b, "norm_groups", shape.norm_groups, inner, "heads * head_dim");
  return mamba2_block(builder, prefix, shape);
}

Block make_gated_delta(SpecBuilder& builder, const std::string& prefix, const Json& b,
                       const Model& model) {
  expect_keys(b,
              {"type", "key_heads", "value_heads", "key_dim", "value_dim", "conv_width", "chunk"});
  GatedDeltaBlock block;
  block.key_heads = required(b, "key_heads", max_heads);
  block.value_heads = required(b, "value_heads", max_heads);
  check_divides(b, "key_heads", block.key_heads, block.value_heads, "value_heads");
  block.key_dim = required(b, "key_dim", max_head_dim);
  block.value_dim = required(b, "value_dim", max_head_dim);
  block.conv_width = required(b, "conv_width");
  block.chunk = dimension(b, "chunk", block.chunk);
  const int64_t k_width = product(b, "key_dim", block.key_heads, block.key_dim);
  const int64_t v_width = product(b, "value_dim", block.value_heads, block.value_dim);
  return gated_delta_block(
      builder, prefix, block, model.hidden, model.norms.eps,
      {{prefix + "in_proj.weight", 2 * k_width + 2 * v_width + 2 * block.value_heads}});
}

Block make_rg_lru(SpecBuilder& builder, const std::string& prefix, const Json& b,
                  const Model& model) {
  expect_keys(b, {"type", "width", "heads", "conv_width", "act"});
  const RgLruBlock block{.width = required(b, "width"),
                         .heads = required(b, "heads", max_heads),
                         .conv_width = required(b, "conv_width"),
                         .act = activation(b, "act", Act::gelu_tanh)};
  check_divides(b, "heads", block.heads, block.width, "width");
  return rg_lru_block(builder, prefix, block, model.hidden);
}

Block make_short_conv(SpecBuilder& builder, const std::string& prefix, const Json& b,
                      const Model& model) {
  expect_keys(b, {"type", "conv_width", "bias"});
  return short_conv_block(builder, prefix,
                          {.width = model.hidden, .conv_width = required(b, "conv_width")},
                          flag(b, "bias", false));
}

struct BlockType {
  std::string_view name;
  Block (*make)(SpecBuilder&, const std::string& prefix, const Json&, const Model&);
  bool has_cache, has_state;  // a layer has room for one of each
};
constexpr BlockType block_types[] = {
    {"attention", make_attention, true, false},
    {"mlp", make_mlp, false, false},
    {"moe", make_moe, false, false},
    {"mamba1", make_mamba1, false, true},
    {"mamba2", make_mamba2, false, true},
    {"gated_delta", make_gated_delta, false, true},
    {"rg_lru", make_rg_lru, false, true},
    {"short_conv", make_short_conv, false, true},
};

const BlockType& type_of(const Json& block) {
  const std::string name = block["type"].string();
  std::string known;
  for (const BlockType& type : block_types) {
    if (type.name == name) return type;
    known += (known.empty() ? "" : ", ") + std::string(type.name);
  }
  block["type"].fail_expected("one of " + known);
}

// What a sublayer says: "name", ["name", ...] in parallel, or an object with more about it.
struct SublayerText {
  std::vector<Json> blocks;  // their names
  std::string norm;          // what its norm is called
  double residual_scale = 1;
};

SublayerText read_sublayer(const Json& text, size_t index, double residual_scale) {
  SublayerText out{{}, "norm" + std::to_string(index), residual_scale};
  const auto add = [&](const Json& names) {
    if (names.is_string()) return out.blocks.push_back(names);
    for (size_t i = 0; i < names.size(); ++i) out.blocks.push_back(names[i]);
    if (out.blocks.empty()) names.fail_expected("at least one block");
  };
  if (!text.is_object()) {
    add(text);
    return out;
  }
  expect_keys(text, {"blocks", "norm", "residual_multiplier"});
  add(text["blocks"]);
  if (text.has("norm")) out.norm = name_in(text["norm"]);
  out.residual_scale = finite(text, "residual_multiplier", residual_scale);
  return out;
}

LayerSpec make_layer(SpecBuilder& builder, const std::string& prefix, const Json& sublayers,
                     const Model& model) {
  LayerSpec layer;
  std::set<std::string> used;
  bool has_cache = false, has_state = false;
  const double residual_scale = finite(model.config, "residual_multiplier", 1);
  for (size_t i = 0; i < sublayers.size(); ++i) {
    const SublayerText text = read_sublayer(sublayers[i], i, residual_scale);
    Sublayer sublayer{
        model.norms.make(builder, prefix + text.norm + ".", model.hidden), {}, text.residual_scale};
    for (const Json& reference : text.blocks) {
      const std::string name = name_in(reference);
      const Json blocks = model.config["blocks"];
      if (!blocks.has(name)) reference.fail_expected("one of the blocks " + listed(blocks.keys()));
      if (!used.insert(name).second)
        reference.fail_expected("a block that its layer does not have yet, as weights go by it");
      const BlockType& type = type_of(blocks[name]);
      if ((type.has_cache && has_cache) || (type.has_state && has_state))
        reference.fail_expected(
            "a layer with at most one attention and one recurrent or convolution block (begin "
            "another layer)");
      has_cache = has_cache || type.has_cache;
      has_state = has_state || type.has_state;
      sublayer.parallel.push_back(type.make(builder, prefix + name + ".", blocks[name], model));
    }
    layer.sublayers.push_back(std::move(sublayer));
  }
  if (layer.sublayers.empty()) sublayers.fail_expected("at least one sublayer");
  return layer;
}

struct Names {
  std::string embedding = "model.embed_tokens.weight", layers = "model.layers.",
              final_norm = "model.norm.";
};

Names read_names(const Json& config) {
  Names out;
  if (!config.has("names")) return out;
  const Json names = config["names"];
  expect_keys(names, {"embedding", "layers", "final_norm"});
  if (names.has("embedding")) out.embedding = name_in(names["embedding"]);
  if (names.has("layers")) out.layers = name_in(names["layers"]);
  if (names.has("final_norm")) out.final_norm = name_in(names["final_norm"]);
  return out;
}

}  // namespace

ModelSpec make_generic(const Json& config) {
  expect_keys(config,
              {"model_type", "description", "vocab_size", "hidden_size", "tie_word_embeddings",
               "norm", "embedding_multiplier", "residual_multiplier", "logits_multiplier",
               "logits_soft_cap", "blocks", "layers", "pattern", "num_hidden_layers", "names"});
  SpecBuilder builder(config);
  const Model model{config, required(config, "hidden_size"), read_norms(config)};
  const Json kinds = config["layers"], pattern = config["pattern"];
  if (pattern.size() == 0) pattern.fail_expected("at least one layer");
  const int64_t layers =
      dimension(config, "num_hidden_layers", static_cast<int64_t>(pattern.size()), max_layers);
  const Names names = read_names(config);

  builder.spec.family = "tidemark_generic";
  builder.vocabulary({names.embedding}, required(config, "vocab_size"), model.hidden,
                     flag(config, "tie_word_embeddings", false));
  builder.spec.embedding_scale = finite(config, "embedding_multiplier", 1);
  builder.spec.logits_scale = finite(config, "logits_multiplier", 1);
  if (config.has("logits_soft_cap"))
    builder.spec.logits_cap = positive(config, "logits_soft_cap", 1);
  for (int64_t i = 0; i < layers; ++i) {
    const Json reference = pattern[static_cast<size_t>(i) % pattern.size()];
    const std::string kind = reference.string();
    if (!kinds.has(kind)) reference.fail_expected("one of the layers " + listed(kinds.keys()));
    builder.spec.layers.push_back(
        make_layer(builder, names.layers + std::to_string(i) + ".", kinds[kind], model));
  }
  builder.spec.final_norm = model.norms.make(builder, names.final_norm, model.hidden);
  return builder.finish();
}

}  // namespace tidemark
