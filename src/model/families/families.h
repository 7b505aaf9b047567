// The architecture families: one make function per file here, from a config.json to a ModelSpec,
// with the defaults and the arithmetic of Hugging Face transformers 5.
#pragma once

#include "base/json.h"
#include "model/spec.h"

namespace tidemark {

ModelSpec make_llama(const Json& config);
ModelSpec make_qwen2(const Json& config);
ModelSpec make_mamba(const Json& config);
ModelSpec make_mamba2(const Json& config);
ModelSpec make_falcon_h1(const Json& config);
ModelSpec make_phi3(const Json& config);
ModelSpec make_gpt_neo(const Json& config);
ModelSpec make_zamba2(const Json& config);
ModelSpec make_hymba(const Json& config);
ModelSpec make_qwen3(const Json& config);
ModelSpec make_falcon_mamba(const Json& config);
ModelSpec make_bamba(const Json& config);
ModelSpec make_granite_moe_hybrid(const Json& config);
ModelSpec make_nemotron_h(const Json& config);
ModelSpec make_jamba(const Json& config);
ModelSpec make_qwen3_next(const Json& config);
ModelSpec make_recurrent_gemma(const Json& config);
ModelSpec make_lfm2(const Json& config);
ModelSpec make_generic(const Json& config);

// Chooses by model_type; a config without one is an original state-spaces Mamba when it looks so.
ModelSpec make_spec(const Json& config);

}  // namespace tidemark
