#include "model/families/families.h"

#include <string>
#include <string_view>

#include "base/error.h"
#include "model/families/config.h"
#include "model/families/original_mamba.h"

namespace tidemark {
namespace {

struct Family {
  std::string_view model_type;
  ModelSpec (*make)(const Json& config);
};
constexpr Family families[] = {
    {"bamba", make_bamba},
    {"falcon_h1", make_falcon_h1},
    {"falcon_mamba", make_falcon_mamba},
    {"gpt_neo", make_gpt_neo},
    {"granitemoehybrid", make_granite_moe_hybrid},
    {"hymba", make_hymba},
    {"jamba", make_jamba},
    {"lfm2", make_lfm2},
    {"llama", make_llama},
    {"mamba", make_mamba},
    {"mamba2", make_mamba2},
    {"nemotron_h", make_nemotron_h},
    {"phi3", make_phi3},
    {"qwen2", make_qwen2},
    {"qwen3", make_qwen3},
    {"qwen3_next", make_qwen3_next},
    {"recurrent_gemma", make_recurrent_gemma},
    {"tidemark_generic", make_generic},
    {"zamba2", make_zamba2},
};

// ssm_cfg.layer says which of the two it is.
std::string original_model_type(const Json& config) {
  const bool names_layer = config.has("ssm_cfg") && config["ssm_cfg"].has("layer");
  if (!names_layer) return "mamba";
  const Json layer = config["ssm_cfg"]["layer"];
  const std::string name = layer.string();
  if (name == "Mamba1") return "mamba";
  if (name == "Mamba2") return "mamba2";
  layer.fail_expected("Mamba1 or Mamba2");
}

// state-spaces/mamba* carry no model_type, unless someone added it.
std::string read_model_type(const Json& config) {
  const bool named = config.has("model_type");
  const std::string type = named ? config["model_type"].string() : "";
  if (!is_original_mamba(config) || (named && type != "mamba" && type != "mamba2"))
    return config["model_type"].string();
  const std::string original = original_model_type(config);
  if (named && type != original)
    config["model_type"].fail_expected(original + ", which ssm_cfg describes");
  return original;
}

// With these, which transformers ignores, other programs compute another model of the same tensors.
void refuse_foreign_keys(const Json& config) {
  for (const char* key : {"attn_logit_softcapping", "clip_qkv", "final_logit_softcapping"})
    if (config.has(key)) config[key].fail_expected("null");
  if (finite(config, "logit_scale", 1) != 1) config["logit_scale"].fail_expected("1");
}

}  // namespace

ModelSpec make_spec(const Json& config) {
  const std::string type = read_model_type(config);
  std::string known;
  for (const Family& family : families) {
    if (family.model_type == type) {
      // The generic family knows its own keys and refuses all others.
      if (family.make != make_generic) refuse_foreign_keys(config);
      return family.make(config);
    }
    known += (known.empty() ? "" : ", ") + std::string(family.model_type);
  }
  config["model_type"].fail_expected("one of " + known);
}

}  // namespace tidemark
