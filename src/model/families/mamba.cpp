// Mamba (arXiv 2312.00752). transformers: configuration_mamba.py, modeling_mamba.py; mamba_ssm:
// mamba_simple.py.
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"
#include "model/families/original_mamba.h"

namespace tidemark {
namespace {

struct MambaConfig {
  int64_t layers = 0, vocab = 0;
  double eps = 1e-5;
  bool tied = true;
  Mamba1Shape shape;
};

MambaConfig read_transformers(const Json& config) {
  MambaConfig out;
  Mamba1Shape& shape = out.shape;
  shape.hidden = dimension(config, "hidden_size", 768);
  out.layers = dimension(config, "num_hidden_layers", 32, max_layers);
  out.vocab = dimension(config, "vocab_size", 50280);
  out.eps = positive(config, "layer_norm_epsilon", 1e-5);
  out.tied = flag(config, "tie_word_embeddings", true);
  require_silu(config, "hidden_act");
  shape.inner = config.has("intermediate_size")
                    ? dimension(config, "intermediate_size", 0)
                    : product(config, "expand", shape.hidden, dimension(config, "expand", 2));
  shape.state = dimension(config, "state_size", 16);
  shape.conv_width = dimension(config, "conv_kernel", 4);
  shape.dt_rank = read_dt_rank(config, "time_step_rank", shape.hidden);
  shape.bias = flag(config, "use_bias", false);
  shape.conv_bias = flag(config, "use_conv_bias", true);
  return out;
}

MambaConfig read_original(const Json& config) {
  const OriginalMamba original = read_original_mamba(config);
  const Json& ssm = original.ssm;
  MambaConfig out;
  Mamba1Shape& shape = out.shape;
  shape.hidden = original.hidden;
  out.layers = original.layers;
  out.vocab = original.vocab;
  out.tied = original.tied;
  shape.inner = product(ssm, "expand", shape.hidden, dimension(ssm, "expand", 2));
  shape.state = dimension(ssm, "d_state", 16);
  shape.conv_width = dimension(ssm, "d_conv", 4);
  shape.dt_rank = read_dt_rank(ssm, "dt_rank", shape.hidden);
  shape.bias = flag(ssm, "bias", false);
  shape.conv_bias = flag(ssm, "conv_bias", true);
  return out;
}

}  // namespace

ModelSpec make_mamba(const Json& config) {
  const MambaConfig mamba =
      is_original_mamba(config) ? read_original(config) : read_transformers(config);
  const int64_t hidden = mamba.shape.hidden;
  SpecBuilder builder(config);
  builder.spec.family = "mamba";
  builder.vocabulary({"backbone.embeddings.weight", "backbone.embedding.weight"}, mamba.vocab,
                     hidden, mamba.tied);
  for (int64_t i = 0; i < mamba.layers; ++i) {
    const std::string layer = "backbone.layers." + std::to_string(i) + ".";
    Sublayer mixing{builder.rms_norm(layer + "norm.weight", hidden, mamba.eps),
                    {mamba1_block(builder, layer + "mixer.", mamba.shape)}};
    builder.spec.layers.push_back({{std::move(mixing)}});
  }
  builder.spec.final_norm = builder.rms_norm("backbone.norm_f.weight", hidden, mamba.eps);
  return builder.finish();
}

}  // namespace tidemark
