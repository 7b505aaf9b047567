#include "base/vocab.h"

#include <iterator>

#include "base/error.h"

namespace tidemark {
namespace {

constexpr std::string_view dtype_names[] = {"f32", "bf16", "f16",   "f64", "i32",
                                            "i64", "i8",   "w8a16", "w8a8"};
constexpr std::string_view tag_names[] = {"weights",    "activation", "kv_cache", "ssm_state",
                                          "conv_state", "logits",     "workspace"};
constexpr std::string_view category_names[] = {"gemm",   "attention",   "ssm_scan", "conv",
                                               "norm",   "elementwise", "rope",     "embedding",
                                               "memory", "sampling"};
constexpr std::string_view role_names[] = {
    "embed",       "attn_norm", "qkv_proj",   "qk_norm",  "rope",     "kv_append", "attention",
    "attn_gate",   "o_proj",    "mlp_norm",   "mlp_up",   "mlp_act",  "mlp_down",  "router",
    "moe_combine", "ssm_norm",  "in_proj",    "conv",     "x_proj",   "dt_proj",   "ssm_param_norm",
    "gate_proj",   "ssm_scan",  "ssm_gate",   "out_proj", "residual", "adapter",   "final_norm",
    "select_last", "lm_head",   "logits_cap", "sample"};
static_assert(std::size(tag_names) == tag_count);
static_assert(std::size(category_names) == category_count);
static_assert(std::size(role_names) == static_cast<size_t>(Role::sample) + 1);

}  // namespace

std::string_view name(DType d) {
  return dtype_names[static_cast<int>(d)];
}
std::string_view name(Tag t) {
  return tag_names[static_cast<int>(t)];
}
std::string_view name(Category c) {
  return category_names[static_cast<int>(c)];
}
std::string_view name(Role r) {
  return role_names[static_cast<int>(r)];
}
std::string_view name(Phase p) {
  return p == Phase::prefill ? "prefill" : "decode";
}
std::string_view name(LogitsPolicy p) {
  return p == LogitsPolicy::last ? "last" : "all";
}

std::optional<DType> parse_dtype(std::string_view text) {
  for (size_t i = 0; i < std::size(dtype_names); ++i)
    if (dtype_names[i] == text) return static_cast<DType>(i);
  return std::nullopt;
}

std::optional<DType> parse_model_dtype(std::string_view text) {
  const auto dtype = parse_dtype(text);
  return dtype && is_model_dtype(*dtype) ? dtype : std::nullopt;
}

bool is_model_dtype(DType d) {
  return d == DType::f32 || d == DType::bf16 || has_int8_weights(d);
}

bool has_int8_weights(DType d) {
  return d == DType::w8a16 || d == DType::w8a8;
}

DType activation_dtype(DType d) {
  return has_int8_weights(d) ? DType::bf16 : d;
}

std::optional<LogitsPolicy> parse_logits(std::string_view text) {
  if (text == "last") return LogitsPolicy::last;
  if (text == "all") return LogitsPolicy::all;
  return std::nullopt;
}

int64_t size_bytes(DType d) {
  constexpr int64_t sizes[] = {4, 2, 2, 8, 4, 8, 1};
  if (has_int8_weights(d)) fail("{} is a way to hold a model, not the type of an element", name(d));
  return sizes[static_cast<int>(d)];
}

}  // namespace tidemark
