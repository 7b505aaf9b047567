// Qwen3-Next: gated delta rule layers with gated attention between, an MLP or experts after each.
// transformers: configuration_qwen3_next.py, modeling_qwen3_next.py.
#include "base/error.h"
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"

namespace tidemark {
namespace {

std::vector<std::string> read_kinds(const Json& config, int64_t layers) {
  if (config.has("layer_types")) return read_layer_kinds(config, "layer_types", layers);
  const int64_t interval = dimension(config, "full_attention_interval", 4);
  std::vector<std::string> kinds;
  for (int64_t i = 0; i < layers; ++i)
    kinds.push_back((i + 1) % interval == 0 ? "full_attention" : "linear_attention");
  return kinds;
}

GatedDeltaBlock read_delta(const Json& config) {
  GatedDeltaBlock block;
  block.key_heads = dimension(config, "linear_num_key_heads", 16, max_heads);
  block.value_heads = dimension(config, "linear_num_value_heads", 32, max_heads);
  check_divides(config, "linear_num_key_heads", block.key_heads, block.value_heads,
                "linear_num_value_heads");
  block.key_dim = dimension(config, "linear_key_head_dim", 128, max_head_dim);
  block.value_dim = dimension(config, "linear_value_head_dim", 128, max_head_dim);
  product(config, "linear_key_head_dim", block.key_heads, block.key_dim);
  product(config, "linear_value_head_dim", block.value_heads, block.value_dim);
  block.conv_width = dimension(config, "linear_conv_kernel_dim", 4);
  return block;
}

// The file has for every key head its q, k, v of its value heads, z of them; and in a second tensor
// their b and a. Here all q stand first, then all k, and so on.
std::vector<Part> delta_parts(const std::string& prefix, const GatedDeltaBlock& b) {
  const int64_t per_key = b.value_heads / b.key_heads, v_rows = per_key * b.value_dim;
  const int64_t group = 2 * b.key_dim + 2 * v_rows;
  std::vector<Part> parts;
  auto add = [&](const std::string& tensor, int64_t first, int64_t rows, int64_t stride) {
    for (int64_t head = 0; head < b.key_heads; ++head)
      parts.push_back({prefix + tensor, rows, 1, head * stride + first, b.key_heads * stride});
  };
  add("in_proj_qkvz.weight", 0, b.key_dim, group);
  add("in_proj_qkvz.weight", b.key_dim, b.key_dim, group);
  add("in_proj_qkvz.weight", 2 * b.key_dim, v_rows, group);
  add("in_proj_qkvz.weight", 2 * b.key_dim + v_rows, v_rows, group);
  add("in_proj_ba.weight", 0, per_key, 2 * per_key);
  add("in_proj_ba.weight", per_key, per_key, 2 * per_key);
  return parts;
}

}  // namespace

ModelSpec make_qwen3_next(const Json& config) {
  SpecBuilder builder(config);
  const int64_t hidden = dimension(config, "hidden_size", 2048);
  const int64_t layers = dimension(config, "num_hidden_layers", 48, max_layers);
  const double eps = positive(config, "rms_norm_eps", 1e-6);
  const int64_t head_dim = dimension(config, "head_dim", 256, max_head_dim);
  const Heads heads = read_heads(config, hidden, 16, 2, head_dim);
  require_silu(config, "hidden_act");
  require_flag(config, "attn_output_gate", true);
  const bool bias = flag(config, "attention_bias", false);
  const RopeSpec rope =
      read_rope(config, head_dim, {.fraction = 0.25, .partial = true, .max_positions = 32768});
  const AttentionShape attention{.hidden = hidden,
                                 .heads = heads.heads,
                                 .kv_heads = heads.kv_heads,
                                 .head_dim = head_dim,
                                 .qkv_bias = bias,
                                 .o_bias = bias,
                                 .rope = rope,
                                 .gated = true,
                                 .q_norm = "q_norm",
                                 .k_norm = "k_norm",
                                 .norm_eps = eps,
                                 .norm_offset = 1};
  const GatedDeltaBlock delta = read_delta(config);
  const MlpShape mlp{.hidden = hidden, .width = dimension(config, "intermediate_size", 5632)};
  const int64_t experts =
      config.has("num_experts") ? config["num_experts"].integer(0, max_experts) : 512;
  const MoeBlock moe{
      .experts = experts,
      .top_k = experts > 0 ? dimension(config, "num_experts_per_tok", 10, experts) : 0,
      .width = dimension(config, "moe_intermediate_size", 512),
      .normalize = flag(config, "norm_topk_prob", true),
      .expert_width = hidden};
  const MlpShape shared{.hidden = hidden,
                        .width = dimension(config, "shared_expert_intermediate_size", 512)};
  const int64_t sparse_step = dimension(config, "decoder_sparse_step", 1);
  const std::vector<bool> mlp_only = read_layer_flags(config, "mlp_only_layers", layers);
  const std::vector<std::string> kinds = read_kinds(config, layers);

  builder.spec.family = "qwen3_next";
  builder.vocabulary({"model.embed_tokens.weight"}, dimension(config, "vocab_size", 151936), hidden,
                     flag(config, "tie_word_embeddings", false));
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    const std::string& kind = kinds[static_cast<size_t>(i)];
    Sublayer mixing{builder.rms_norm(layer + "input_layernorm.weight", hidden, eps, 1), {}};
    if (kind == "linear_attention")
      mixing.parallel.push_back(gated_delta_block(builder, layer + "linear_attn.", delta, hidden,
                                                  eps, delta_parts(layer + "linear_attn.", delta)));
    else if (kind == "full_attention")
      mixing.parallel.push_back(attention_block(builder, layer + "self_attn.", attention));
    else
      config["layer_types"][static_cast<size_t>(i)].fail_expected(
          "linear_attention or full_attention");
    Sublayer feeding{builder.rms_norm(layer + "post_attention_layernorm.weight", hidden, eps, 1),
                     {}};
    const bool sparse =
        !mlp_only[static_cast<size_t>(i)] && experts > 0 && (i + 1) % sparse_step == 0;
    if (sparse) {
      feeding.parallel.push_back(moe_block(builder, layer + "mlp.", moe, hidden, {}));
      MlpBlock expert = gated_mlp_block(builder, layer + "mlp.shared_expert.", shared);
      expert.row_gate = builder.matrix(layer + "mlp.shared_expert_gate.weight", 1, hidden);
      feeding.parallel.push_back(expert);
    } else {
      feeding.parallel.push_back(gated_mlp_block(builder, layer + "mlp.", mlp));
    }
    builder.spec.layers.push_back({{std::move(mixing), std::move(feeding)}});
  }
  builder.spec.final_norm = builder.rms_norm("model.norm.weight", hidden, eps, 1);
  return builder.finish();
}

}  // namespace tidemark
