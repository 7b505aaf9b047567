#include "model/families/bamba_mixer.h"

#include "base/error.h"
#include "model/families/config.h"

namespace tidemark {

Mamba2Shape read_mamba2_mixer(const Json& config, int64_t hidden, int64_t inner,
                              std::string_view inner_name) {
  Mamba2Shape shape;
  shape.hidden = hidden;
  shape.heads = dimension(config, "mamba_n_heads", 128);
  check_divides(config, "mamba_n_heads", shape.heads, inner, inner_name);
  shape.head_dim = inner / shape.heads;
  const bool automatic = !config.has("mamba_d_head") || config["mamba_d_head"].is_string();
  if (!automatic && config["mamba_d_head"].integer() != shape.head_dim)
    config["mamba_d_head"].fail_expected(
        fmt::format("{} {} / mamba_n_heads {}", inner_name, inner, shape.heads));
  shape.state = dimension(config, "mamba_d_state", 256);
  shape.groups = dimension(config, "mamba_n_groups", 1);
  check_divides(config, "mamba_n_groups", shape.groups, shape.heads, "mamba_n_heads");
  product(config, "mamba_n_groups", shape.groups, shape.state);
  shape.conv_width = dimension(config, "mamba_d_conv", 4);
  shape.chunk = dimension(config, "mamba_chunk_size", 256);
  const TimeStepLimit limit = read_time_step_limit(config, "time_step_limit");
  shape.dt_min = limit.least;
  shape.dt_max = limit.most;
  shape.in_bias = flag(config, "mamba_proj_bias", false);
  shape.conv_bias = flag(config, "mamba_conv_bias", true);
  return shape;
}

Mamba2Shape read_bamba_mixer(const Json& config, int64_t hidden, double eps) {
  const int64_t inner =
      product(config, "mamba_expand", hidden, dimension(config, "mamba_expand", 2));
  Mamba2Shape shape = read_mamba2_mixer(config, hidden, inner, "mamba_expand * hidden_size");
  shape.out_bias = shape.in_bias;
  shape.norm_eps = eps;
  return shape;
}

}  // namespace tidemark
