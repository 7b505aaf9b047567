// Falcon-Mamba: Mamba whose dt, B and C are normalised without weights.
// transformers: configuration_falcon_mamba.py, modeling_falcon_mamba.py.
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"

namespace tidemark {

ModelSpec make_falcon_mamba(const Json& config) {
  SpecBuilder builder(config);
  const int64_t hidden = dimension(config, "hidden_size", 768);
  const int64_t layers = dimension(config, "num_hidden_layers", 32, max_layers);
  const double eps = positive(config, "layer_norm_epsilon", 1e-5);
  require_silu(config, "hidden_act");
  const Mamba1Shape shape{
      .hidden = hidden,
      .inner = config.has("intermediate_size")
                   ? dimension(config, "intermediate_size", 0)
                   : product(config, "expand", hidden, dimension(config, "expand", 2)),
      .state = dimension(config, "state_size", 16),
      .conv_width = dimension(config, "conv_kernel", 4),
      .dt_rank = read_dt_rank(config, "time_step_rank", hidden),
      .bias = flag(config, "use_bias", false),
      .conv_bias = flag(config, "use_conv_bias", true)};
  const NormSpec unweighted{.eps = positive(config, "mixer_rms_eps", 1e-6)};

  builder.spec.family = "falcon_mamba";
  builder.vocabulary({"backbone.embeddings.weight"}, dimension(config, "vocab_size", 50280), hidden,
                     flag(config, "tie_word_embeddings", true));
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = "backbone.layers." + std::to_string(i) + ".";
    Sublayer mixing{builder.rms_norm(layer + "norm.weight", hidden, eps), {}};
    Mamba1Block block = mamba1_block(builder, layer + "mixer.", shape);
    block.dt_norm = block.b_norm = block.c_norm = unweighted;
    mixing.parallel.push_back(block);
    builder.spec.layers.push_back({{std::move(mixing)}});
  }
  builder.spec.final_norm = builder.rms_norm("backbone.norm_f.weight", hidden, eps);
  return builder.finish();
}

}  // namespace tidemark
