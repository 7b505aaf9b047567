// The config of state-spaces/mamba and mamba2 checkpoints, as mamba_ssm's MambaConfig writes it.
#pragma once

#include <cstdint>

#include "base/json.h"

namespace tidemark {

// What both generations share; `ssm` is the ssm_cfg dictionary, or the empty config when absent.
struct OriginalMamba {
  int64_t hidden = 0, layers = 0, vocab = 0;
  bool tied = true;
  Json ssm;
};
bool is_original_mamba(const Json& config);  // with or without a model_type
OriginalMamba read_original_mamba(const Json& config);

}  // namespace tidemark
