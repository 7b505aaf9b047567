#include "model/families/original_mamba.h"

#include "model/families/config.h"

namespace tidemark {

bool is_original_mamba(const Json& config) {
  return config.has("d_model") && config.has("n_layer") && !config.has("hidden_size");
}

OriginalMamba read_original_mamba(const Json& config) {
  require_flag(config, "rms_norm", true);
  if (config.has("attn_layer_idx") && config["attn_layer_idx"].size() != 0)
    config["attn_layer_idx"].fail_expected("no attention layers");
  if (config.has("d_intermediate") && config["d_intermediate"].integer() != 0)
    config["d_intermediate"].fail_expected("0, as MLP layers are not supported");
  const int64_t vocab = config["vocab_size"].integer(1, max_dimension);
  const int64_t multiple = dimension(config, "pad_vocab_size_multiple", 8);
  return {.hidden = config["d_model"].integer(1, max_dimension),
          .layers = config["n_layer"].integer(1, max_layers),
          .vocab = (vocab + multiple - 1) / multiple * multiple,
          .tied = flag(config, "tie_embeddings", true),
          .ssm = config.has("ssm_cfg") ? config["ssm_cfg"] : Json::parse("{}", config.where())};
}

}  // namespace tidemark
