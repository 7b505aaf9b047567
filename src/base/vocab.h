// The closed vocabularies of Tidemark and their names. Every enum here is written to stores and
// files by name, so a name, once published, stays.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tidemark {

// Element types of tensors; the last two are not, but ways to ask for a model
// (docs/quantization.md): weights of projections in 8 bits beside bf16, w8a8 with the activations
// that meet them in 8 too.
enum class DType { f32, bf16, f16, f64, i32, i64, i8, w8a16, w8a8 };
// What a tensor is for; memory is planned, measured and reported by tag.
enum class Tag { weights, activation, kv_cache, ssm_state, conv_state, logits, workspace };
// What an operator is, by its type.
enum class Category {
  gemm,
  attention,
  ssm_scan,
  conv,
  norm,
  elementwise,
  rope,
  embedding,
  memory,
  sampling
};
// What an operator is for, by its place in the model.
enum class Role {
  embed,
  attn_norm,
  qkv_proj,
  qk_norm,
  rope,
  kv_append,
  attention,
  attn_gate,
  o_proj,
  mlp_norm,
  mlp_up,
  mlp_act,
  mlp_down,
  router,
  moe_combine,
  ssm_norm,
  in_proj,
  conv,
  x_proj,
  dt_proj,
  ssm_param_norm,
  gate_proj,
  ssm_scan,
  ssm_gate,
  out_proj,
  residual,
  adapter,
  final_norm,
  select_last,
  lm_head,
  logits_cap,
  sample
};
enum class Phase { prefill, decode };
enum class LogitsPolicy { last, all };

// Variants of operators, as architectures name them.
enum class NormKind { rms, layer };
enum class Act { silu, gelu, gelu_tanh, relu2, sigmoid, identity };
enum class RouterScore { softmax, sigmoid };

inline constexpr int tag_count = 7;
inline constexpr int category_count = 10;

std::string_view name(DType);
std::string_view name(Tag);
std::string_view name(Category);
std::string_view name(Role);
std::string_view name(Phase);
std::string_view name(LogitsPolicy);

std::optional<DType> parse_dtype(std::string_view);
// What a model may be asked for in, and the words for it.
inline constexpr std::string_view model_dtypes = "f32, bf16, w8a16 or w8a8";
std::optional<DType> parse_model_dtype(std::string_view);
bool is_model_dtype(DType);
// Of a model asked for in `d`: whether its projections have 8-bit weights, and what everything else
// is held in.
bool has_int8_weights(DType d);
DType activation_dtype(DType d);
std::optional<LogitsPolicy> parse_logits(std::string_view);

int64_t size_bytes(DType);  // of one element

inline constexpr std::array<Tag, tag_count> all_tags = {
    Tag::weights,    Tag::activation, Tag::kv_cache, Tag::ssm_state,
    Tag::conv_state, Tag::logits,     Tag::workspace};

}  // namespace tidemark
