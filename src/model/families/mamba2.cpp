// Mamba-2 (arXiv 2405.21060). transformers: configuration_mamba2.py, modeling_mamba2.py; mamba_ssm:
// mamba2.py.
#include "base/error.h"
#include "model/families/builder.h"
#include "model/families/config.h"
#include "model/families/families.h"
#include "model/families/original_mamba.h"

namespace tidemark {
namespace {

struct Mamba2Config {
  int64_t layers = 0, vocab = 0;
  double eps = 1e-5;
  bool tied = true;
  Mamba2Shape shape;
};

// transformers always applies the gated norm, over the whole width and after the gate, whatever
// norm_before_gate says: files have it both ways.
Mamba2Config read_transformers(const Json& config) {
  Mamba2Config out;
  Mamba2Shape& shape = out.shape;
  shape.hidden = dimension(config, "hidden_size", 4096);
  out.layers = dimension(config, "num_hidden_layers", 64, max_layers);
  out.vocab = dimension(config, "vocab_size", 32768);
  out.eps = shape.norm_eps = positive(config, "layer_norm_epsilon", 1e-5);
  out.tied = flag(config, "tie_word_embeddings", false);
  require_silu(config, "hidden_act");
  require_flag(config, "rms_norm", true);
  shape.heads = dimension(config, "num_heads", 128);
  shape.head_dim = dimension(config, "head_dim", 64);
  const int64_t inner = product(config, "expand", shape.hidden, dimension(config, "expand", 2));
  if (product(config, "head_dim", shape.heads, shape.head_dim) != inner)
    fail(
        "{}: key 'num_heads': expected num_heads * head_dim to be expand * hidden_size {}, found "
        "{} * {}",
        config.where(), inner, shape.heads, shape.head_dim);
  shape.state = dimension(config, "state_size", 128);
  shape.groups = dimension(config, "n_groups", 8);
  check_divides(config, "n_groups", shape.groups, shape.heads, "num_heads");
  product(config, "n_groups", shape.groups, shape.state);
  shape.conv_width = dimension(config, "conv_kernel", 4);
  shape.chunk = dimension(config, "chunk_size", 256);
  const TimeStepLimit limit = read_time_step_limit(config, "time_step_limit");
  shape.dt_min = limit.least;
  shape.dt_max = limit.most;
  shape.in_bias = shape.out_bias = flag(config, "use_bias", false);
  shape.conv_bias = flag(config, "use_conv_bias", true);
  return out;
}

// mamba_ssm normalises each group of heads on its own.
Mamba2Config read_original(const Json& config) {
  const OriginalMamba original = read_original_mamba(config);
  const Json& ssm = original.ssm;
  Mamba2Config out;
  Mamba2Shape& shape = out.shape;
  shape.hidden = original.hidden;
  out.layers = original.layers;
  out.vocab = original.vocab;
  out.tied = original.tied;
  const int64_t inner = product(ssm, "expand", shape.hidden, dimension(ssm, "expand", 2));
  if (dimension(ssm, "d_ssm", inner) != inner)
    ssm["d_ssm"].fail_expected("expand * d_model " + std::to_string(inner));
  require_flag(ssm, "D_has_hdim", false);
  require_silu(ssm, "activation");
  shape.head_dim = dimension(ssm, "headdim", 64);
  check_divides(ssm, "headdim", shape.head_dim, inner, "expand * d_model");
  shape.heads = inner / shape.head_dim;
  shape.state = dimension(ssm, "d_state", 128);
  shape.groups = dimension(ssm, "ngroups", 1);
  check_divides(ssm, "ngroups", shape.groups, shape.heads, "the number of heads");
  product(ssm, "ngroups", shape.groups, shape.state);
  shape.conv_width = dimension(ssm, "d_conv", 4);
  shape.chunk = dimension(ssm, "chunk_size", 256);
  const TimeStepLimit limit = read_time_step_limit(ssm, "dt_limit");
  shape.dt_min = limit.least;
  shape.dt_max = limit.most;
  shape.in_bias = shape.out_bias = flag(ssm, "bias", false);
  shape.conv_bias = flag(ssm, "conv_bias", true);
  shape.gated_norm = flag(ssm, "rmsnorm", true);
  shape.norm_before_gate = flag(ssm, "norm_before_gate", false);
  shape.norm_groups = shape.groups;
  return out;
}

}  // namespace

ModelSpec make_mamba2(const Json& config) {
  const Mamba2Config mamba =
      is_original_mamba(config) ? read_original(config) : read_transformers(config);
  const int64_t hidden = mamba.shape.hidden;
  SpecBuilder builder(config);
  builder.spec.family = "mamba2";
  builder.vocabulary({"backbone.embeddings.weight", "backbone.embedding.weight"}, mamba.vocab,
                     hidden, mamba.tied);
  for (int64_t i = 0; i < mamba.layers; ++i) {
    const std::string layer = "backbone.layers." + std::to_string(i) + ".";
    Sublayer mixing{builder.rms_norm(layer + "norm.weight", hidden, mamba.eps),
                    {mamba2_block(builder, layer + "mixer.", mamba.shape)}};
    builder.spec.layers.push_back({{std::move(mixing)}});
  }
  builder.spec.final_norm = builder.rms_norm("backbone.norm_f.weight", hidden, mamba.eps);
  return builder.finish();
}

}  // namespace tidemark
