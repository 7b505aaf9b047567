#include "model/families/families.h"

#include <string>
#include <string_view>

#include "base/error.h"

namespace tidemark {
namespace {

struct Family {
  std::string_view model_type;
  ModelSpec (*make)(const Json& config);
};
constexpr Family families[] = {
    {"falcon_h1", make_falcon_h1}, {"llama", make_llama}, {"mamba", make_mamba},
    {"mamba2", make_mamba2},       {"qwen2", make_qwen2},
};

// state-spaces/mamba* carry no model_type; ssm_cfg.layer says which of the two it is.
std::string original_model_type(const Json& config) {
  const bool names_layer = config.has("ssm_cfg") && config["ssm_cfg"].has("layer");
  if (!names_layer) return "mamba";
  const Json layer = config["ssm_cfg"]["layer"];
  const std::string name = layer.string();
  if (name == "Mamba1") return "mamba";
  if (name == "Mamba2") return "mamba2";
  layer.fail_expected("Mamba1 or Mamba2");
}

}  // namespace

ModelSpec make_spec(const Json& config) {
  const bool original = !config.has("model_type") && config.has("d_model") && config.has("n_layer");
  const std::string type = original ? original_model_type(config) : config["model_type"].string();
  std::string known;
  for (const Family& family : families) {
    if (family.model_type == type) return family.make(config);
    known += (known.empty() ? "" : ", ") + std::string(family.model_type);
  }
  config["model_type"].fail_expected("one of " + known);
}

}  // namespace tidemark
