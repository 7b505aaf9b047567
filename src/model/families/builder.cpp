#include "model/families/builder.h"

#include <cmath>
#include <utility>

#include "base/error.h"

namespace tidemark {

void untie(ModelSpec& spec) {
  spec.weights.push_back({.name = "lm_head.weight",
                          .rows = spec.vocab,
                          .cols = spec.hidden,
                          .draw = Draw::linear,
                          .parts = {{.names = {"lm_head.weight"},
                                     .file_shape = {spec.vocab, spec.hidden},
                                     .rows = spec.vocab}}});
  spec.lm_head = static_cast<WeightId>(spec.weights.size() - 1);
}

void SpecBuilder::count_tensors(size_t more) {
  constexpr size_t most = size_t{1} << 20;
  if ((tensors_ += more) > most)
    fail("{}: expected a model of at most {} tensors, found more", config_.where(), most);
}

WeightId SpecBuilder::add(Weight weight) {
  spec.weights.push_back(std::move(weight));
  return static_cast<WeightId>(spec.weights.size() - 1);
}

WeightId SpecBuilder::stacked(const std::string& name, int64_t cols, Draw draw,
                              const std::vector<Part>& parts) {
  count_tensors(parts.size());
  Weight weight{name, 0, cols == 0 ? 1 : cols, draw, {}};
  for (const Part& part : parts) {
    std::vector<int64_t> shape = {part.of == 0 ? part.rows : part.of};
    if (cols != 0) shape.push_back(cols);
    weight.parts.push_back(
        {{part.name}, shape, part.first, part.rows, static_cast<float>(part.scale)});
    weight.rows += part.rows;
  }
  return add(std::move(weight));
}

WeightId SpecBuilder::sections(const std::string& tensor, int64_t cols, Draw draw,
                               const std::vector<Part>& sections) {
  count_tensors(sections.size());
  Weight weight{tensor, 0, cols == 0 ? 1 : cols, draw, {}};
  for (const Part& section : sections) weight.rows += section.rows;
  std::vector<int64_t> shape = {weight.rows};
  if (cols != 0) shape.push_back(cols);
  int64_t row = 0;
  for (const Part& section : sections) {
    weight.parts.push_back({{tensor}, shape, row, section.rows, static_cast<float>(section.scale)});
    row += section.rows;
  }
  return add(std::move(weight));
}

WeightId SpecBuilder::matrix(const std::string& tensor, int64_t rows, int64_t cols, double scale) {
  return stacked(tensor, cols, Draw::linear, {{tensor, rows, scale}});
}

WeightId SpecBuilder::vector(const std::string& tensor, int64_t size, Draw draw, double scale) {
  return stacked(tensor, 0, draw, {{tensor, size, scale}});
}

WeightId SpecBuilder::conv(const std::string& tensor, int64_t channels, int64_t width) {
  const WeightId id = matrix(tensor, channels, width);
  spec.weights.back().parts.front().file_shape = {channels, 1, width};
  return id;
}

NormSpec SpecBuilder::rms_norm(const std::string& tensor, int64_t width, double eps,
                               double offset) {
  const Draw draw = offset == 0 ? Draw::norm_weight : Draw::norm_offset;
  return {.kind = NormKind::rms,
          .weight = vector(tensor, width, draw),
          .eps = eps,
          .weight_offset = offset};
}

NormSpec SpecBuilder::layer_norm(const std::string& prefix, int64_t width, double eps) {
  return {.kind = NormKind::layer,
          .weight = vector(prefix + "weight", width, Draw::norm_weight),
          .bias = vector(prefix + "bias", width, Draw::bias),
          .eps = eps};
}

WeightId SpecBuilder::experts(const std::string& fused, const std::string& one_by_one,
                              int64_t count, int64_t cols, const std::vector<Part>& each) {
  count_tensors(static_cast<size_t>(count) * each.size());
  int64_t rows = 0;
  for (const Part& part : each) rows += part.rows;
  Weight weight{fused, count * rows, cols, Draw::linear, {}};
  weight.parts.push_back({{fused}, {count, rows, cols}, 0, count * rows});
  for (int64_t expert = 0; expert < count; ++expert)
    for (const Part& part : each)
      weight.other_parts.push_back({{one_by_one + std::to_string(expert) + "." + part.name},
                                    {part.rows, cols},
                                    0,
                                    part.rows});
  return add(std::move(weight));
}

void SpecBuilder::vocabulary(const std::vector<std::string>& tensors, int64_t vocab, int64_t hidden,
                             bool tied) {
  spec.vocab = vocab;
  spec.hidden = hidden;
  spec.embedding = matrix(tensors.front(), vocab, hidden);
  spec.weights.back().draw = Draw::embedding;
  spec.weights.back().parts.front().names = tensors;
  spec.lm_head = tied ? spec.embedding : matrix("lm_head.weight", vocab, hidden);
}

void SpecBuilder::accept_prefix(std::string_view prefix, std::string_view other) {
  for (Weight& weight : spec.weights)
    for (std::vector<WeightPart>* parts : {&weight.parts, &weight.other_parts})
      for (WeightPart& part : *parts)
        for (const std::string& name : std::vector<std::string>(part.names))
          if (name.starts_with(prefix))
            part.names.push_back(std::string(other) + name.substr(prefix.size()));
}

ModelSpec SpecBuilder::finish() {
  constexpr double most = 0x1p50;  // so that byte counts of the whole fit in int64_t
  double parameters = 0;
  for (const Weight& weight : spec.weights)
    parameters += static_cast<double>(weight.rows) * static_cast<double>(weight.cols);
  if (parameters > most)
    fail("{}: expected at most 2^50 parameters, found {:.3g}", config_.where(), parameters);
  return std::move(spec);
}

namespace {

// q, (gate), k, v. A scale of the input scales what the weights give and leaves the bias alone.
std::vector<Part> qkv_parts(const std::string& prefix, const std::string& suffix,
                            const AttentionShape& shape, double in_scale) {
  const int64_t q_rows = shape.heads * shape.head_dim;
  const int64_t kv_rows = shape.kv_heads * shape.head_dim;
  if (shape.fused_qkv) return {{prefix + "qkv_proj." + suffix, q_rows + 2 * kv_rows}};
  std::vector<Part> parts;
  const std::string q = prefix + "q_proj." + suffix;
  if (shape.gated) {
    for (const int64_t half : {0, 1})
      for (int64_t head = 0; head < shape.heads; ++head)
        parts.push_back(
            {q, shape.head_dim, in_scale, (2 * head + half) * shape.head_dim, 2 * q_rows});
  } else {
    parts.push_back({q, q_rows, in_scale});
  }
  parts.push_back({prefix + "k_proj." + suffix, kv_rows, in_scale * shape.key_scale});
  parts.push_back({prefix + "v_proj." + suffix, kv_rows, in_scale});
  return parts;
}

}  // namespace

AttentionBlock attention_block(SpecBuilder& builder, const std::string& prefix,
                               const AttentionShape& shape) {
  const int64_t in_width = shape.in_width == 0 ? shape.hidden : shape.in_width;
  AttentionBlock block;
  block.heads = shape.heads;
  block.kv_heads = shape.kv_heads;
  block.head_dim = block.value_dim = shape.head_dim;
  block.scale = shape.score_scale == 0 ? 1 / std::sqrt(static_cast<double>(shape.head_dim))
                                       : shape.score_scale;
  block.window = shape.window;
  block.rope = shape.rope;
  block.gated = shape.gated;
  block.qkv = builder.stacked(prefix + "qkv_proj.weight", in_width, Draw::linear,
                              qkv_parts(prefix, "weight", shape, shape.in_scale));
  if (shape.qkv_bias)
    block.qkv_bias = builder.stacked(prefix + "qkv_proj.bias", 0, Draw::bias,
                                     qkv_parts(prefix, "bias", shape, 1));
  auto norm = [&](const std::string& name) {
    return builder.rms_norm(prefix + name + ".weight", shape.head_dim, shape.norm_eps,
                            shape.norm_offset);
  };
  if (!shape.q_norm.empty()) block.q_norm = norm(shape.q_norm);
  if (!shape.k_norm.empty()) block.k_norm = norm(shape.k_norm);
  block.o = builder.matrix(prefix + shape.out + ".weight", shape.hidden,
                           shape.heads * shape.head_dim, shape.out_scale);
  if (shape.o_bias)
    block.o_bias =
        builder.vector(prefix + shape.out + ".bias", shape.hidden, Draw::bias, shape.out_scale);
  return block;
}

MlpBlock gated_mlp_block(SpecBuilder& builder, const std::string& prefix, const MlpShape& shape) {
  const auto parts = [&](const std::string& suffix) {
    if (!shape.fused.empty())
      return std::vector<Part>{{prefix + shape.fused + "." + suffix, 2 * shape.width}};
    return std::vector<Part>{{prefix + shape.gate + "." + suffix, shape.width, shape.gate_scale},
                             {prefix + shape.up + "." + suffix, shape.width}};
  };
  MlpBlock block;
  block.width = shape.width;
  block.act = shape.act;
  block.up =
      builder.stacked(prefix + "gate_up_proj.weight", shape.hidden, Draw::linear, parts("weight"));
  if (shape.bias)
    block.up_bias = builder.stacked(prefix + "gate_up_proj.bias", 0, Draw::bias, parts("bias"));
  block.down =
      builder.matrix(prefix + shape.down + ".weight", shape.hidden, shape.width, shape.out_scale);
  if (shape.bias)
    block.down_bias =
        builder.vector(prefix + shape.down + ".bias", shape.hidden, Draw::bias, shape.out_scale);
  return block;
}

MlpBlock plain_mlp_block(SpecBuilder& builder, const std::string& prefix, const MlpShape& shape) {
  MlpBlock block;
  block.width = shape.width;
  block.act = shape.act;
  block.gated = false;
  block.up = builder.matrix(prefix + shape.up + ".weight", shape.width, shape.hidden);
  if (shape.bias)
    block.up_bias = builder.vector(prefix + shape.up + ".bias", shape.width, Draw::bias);
  block.down = builder.matrix(prefix + shape.down + ".weight", shape.hidden, shape.width);
  if (shape.bias)
    block.down_bias = builder.vector(prefix + shape.down + ".bias", shape.hidden, Draw::bias);
  return block;
}

Mamba1Block mamba1_block(SpecBuilder& builder, const std::string& prefix,
                         const Mamba1Shape& shape) {
  const int64_t inner = shape.inner;
  Mamba1Block block;
  block.inner = inner;
  block.state = shape.state;
  block.conv_width = shape.conv_width;
  block.dt_rank = shape.dt_rank;
  const bool biased = shape.bias && shape.own_projections;
  if (shape.own_projections)
    block.in_proj = builder.matrix(prefix + "in_proj.weight", 2 * inner, shape.hidden);
  if (biased) block.in_bias = builder.vector(prefix + "in_proj.bias", 2 * inner, Draw::bias);
  block.conv = builder.conv(prefix + "conv1d.weight", inner, shape.conv_width);
  if (shape.conv_bias) block.conv_bias = builder.vector(prefix + "conv1d.bias", inner, Draw::bias);
  const std::string& index = shape.list_index;
  block.x_proj =
      builder.matrix(prefix + "x_proj" + index + ".weight", shape.dt_rank + 2 * shape.state, inner);
  block.dt_proj = builder.matrix(prefix + "dt_proj" + index + ".weight", inner, shape.dt_rank);
  block.dt_bias = builder.vector(prefix + "dt_proj" + index + ".bias", inner, Draw::dt_bias);
  block.a_log = builder.stacked(prefix + "A_log" + index, shape.state, Draw::a_log,
                                {{prefix + "A_log" + index, inner}});
  block.d_skip = builder.vector(prefix + "D" + index, inner, Draw::d_skip);
  if (shape.own_projections)
    block.out_proj = builder.matrix(prefix + "out_proj.weight", shape.hidden, inner);
  if (biased) block.out_bias = builder.vector(prefix + "out_proj.bias", shape.hidden, Draw::bias);
  return block;
}

Mamba2Block mamba2_block(SpecBuilder& builder, const std::string& prefix,
                         const Mamba2Shape& shape) {
  const int64_t inner = shape.heads * shape.head_dim;
  const int64_t group_rows = shape.groups * shape.state;
  const int64_t conv_channels = inner + 2 * group_rows;
  const auto sections = [&](double in_scale) {
    return std::vector<Part>{{"z", inner, in_scale * shape.z_scale},
                             {"x", inner, in_scale * shape.x_scale},
                             {"B", group_rows, in_scale * shape.b_scale},
                             {"C", group_rows, in_scale * shape.c_scale},
                             {"dt", shape.heads, in_scale * shape.dt_scale}};
  };
  Mamba2Block block;
  block.heads = shape.heads;
  block.head_dim = shape.head_dim;
  block.state = shape.state;
  block.groups = shape.groups;
  block.conv_width = shape.conv_width;
  block.chunk = shape.chunk;
  block.dt_min = shape.dt_min;
  block.dt_max = shape.dt_max;
  block.in_proj = builder.sections(prefix + "in_proj.weight", shape.hidden, Draw::linear,
                                   sections(shape.in_scale));
  if (shape.in_bias)
    block.in_bias = builder.sections(prefix + "in_proj.bias", 0, Draw::bias, sections(1));
  if (shape.conv_width > 0)
    block.conv = builder.conv(prefix + "conv1d.weight", conv_channels, shape.conv_width);
  if (shape.conv_width > 0 && shape.conv_bias)
    block.conv_bias = builder.vector(prefix + "conv1d.bias", conv_channels, Draw::bias);
  if (shape.param_norms) {
    block.b_norm = builder.rms_norm(prefix + "B_norm.weight", shape.state, shape.norm_eps);
    block.c_norm = builder.rms_norm(prefix + "C_norm.weight", shape.state, shape.norm_eps);
  }
  block.dt_bias = builder.vector(prefix + "dt_bias", shape.heads, Draw::dt_bias);
  block.a_log = builder.vector(prefix + "A_log", shape.heads, Draw::a_log);
  block.d_skip = builder.vector(prefix + "D", shape.heads, Draw::d_skip);
  if (shape.gated_norm) {
    block.gated_norm = builder.rms_norm(prefix + "norm.weight", inner, shape.norm_eps);
    block.norm_groups = shape.norm_groups;
    block.norm_before_gate = shape.norm_before_gate;
  }
  block.out_proj = builder.matrix(prefix + "out_proj.weight", shape.hidden, inner, shape.out_scale);
  if (shape.out_bias)
    block.out_bias =
        builder.vector(prefix + "out_proj.bias", shape.hidden, Draw::bias, shape.out_scale);
  return block;
}

GatedDeltaBlock gated_delta_block(SpecBuilder& builder, const std::string& prefix,
                                  GatedDeltaBlock block, int64_t hidden, double eps,
                                  const std::vector<Part>& in_proj) {
  const int64_t k_width = block.key_heads * block.key_dim;
  const int64_t v_width = block.value_heads * block.value_dim;
  block.in_proj = builder.stacked(prefix + "in_proj", hidden, Draw::linear, in_proj);
  block.conv = builder.conv(prefix + "conv1d.weight", 2 * k_width + v_width, block.conv_width);
  block.dt_bias = builder.vector(prefix + "dt_bias", block.value_heads, Draw::dt_bias);
  block.a_log = builder.vector(prefix + "A_log", block.value_heads, Draw::a_log);
  block.norm = builder.rms_norm(prefix + "norm.weight", block.value_dim, eps);
  block.out_proj = builder.matrix(prefix + "out_proj.weight", hidden, v_width);
  return block;
}

RgLruBlock rg_lru_block(SpecBuilder& builder, const std::string& prefix, RgLruBlock block,
                        int64_t hidden) {
  const int64_t width = block.width, head = width / block.heads;
  const auto parts = [&](const std::string& suffix) {
    return std::vector<Part>{{prefix + "linear_y." + suffix, width},
                             {prefix + "linear_x." + suffix, width}};
  };
  block.in_proj =
      builder.stacked(prefix + "linear_yx.weight", hidden, Draw::linear, parts("weight"));
  block.in_bias = builder.stacked(prefix + "linear_yx.bias", 0, Draw::bias, parts("bias"));
  block.conv = builder.conv(prefix + "conv_1d.weight", width, block.conv_width);
  block.conv_bias = builder.vector(prefix + "conv_1d.bias", width, Draw::bias);
  const std::string lru = prefix + "rg_lru.";
  // In the file [heads, inputs, outputs] and [heads, outputs].
  const auto gate = [&](const std::string& name, WeightId& weight, WeightId& bias) {
    weight = builder.matrix(lru + name + "_weight", width, head);
    builder.spec.weights.back().parts.front().file_shape = {block.heads, head, head};
    bias = builder.vector(lru + name + "_bias", width, Draw::bias);
    builder.spec.weights.back().parts.front().file_shape = {block.heads, head};
  };
  gate("input_gate", block.input_gate, block.input_gate_bias);
  gate("recurrent_gate", block.recurrent_gate, block.recurrent_gate_bias);
  block.param = builder.vector(lru + "recurrent_param", width, Draw::dt_bias);
  block.out_proj = builder.matrix(prefix + "linear_out.weight", hidden, width);
  block.out_bias = builder.vector(prefix + "linear_out.bias", hidden, Draw::bias);
  return block;
}

ShortConvBlock short_conv_block(SpecBuilder& builder, const std::string& prefix,
                                ShortConvBlock block, bool bias) {
  const int64_t width = block.width;
  block.in_proj = builder.matrix(prefix + "in_proj.weight", 3 * width, width);
  block.conv = builder.conv(prefix + "conv.weight", width, block.conv_width);
  block.out_proj = builder.matrix(prefix + "out_proj.weight", width, width);
  if (bias) {
    block.in_bias = builder.vector(prefix + "in_proj.bias", 3 * width, Draw::bias);
    block.conv_bias = builder.vector(prefix + "conv.bias", width, Draw::bias);
    block.out_bias = builder.vector(prefix + "out_proj.bias", width, Draw::bias);
  }
  return block;
}

MoeBlock moe_block(SpecBuilder& builder, const std::string& prefix, MoeBlock block, int64_t hidden,
                   const MoeParts& has) {
  const int64_t width = block.width, latent = block.expert_width;
  block.router = builder.matrix(prefix + has.router + ".weight", block.experts, hidden);
  if (!has.choice_bias.empty())
    block.choice_bias = builder.vector(prefix + has.choice_bias, block.experts, Draw::bias);
  const std::string experts = prefix + "experts.";
  std::vector<Part> up = {{"up_proj.weight", width}};
  if (block.gated) up.insert(up.begin(), {"gate_proj.weight", width});
  block.up = builder.experts(experts + (block.gated ? "gate_up_proj" : "up_proj"), experts,
                             block.experts, latent, up);
  block.down = builder.experts(experts + "down_proj", experts, block.experts, width,
                               {{"down_proj.weight", latent}});
  if (!has.latent) return block;
  block.to_latent = builder.matrix(prefix + "fc1_latent_proj.weight", latent, hidden);
  block.from_latent = builder.matrix(prefix + "fc2_latent_proj.weight", hidden, latent);
  if (has.latent_bias) {
    block.to_latent_bias = builder.vector(prefix + "fc1_latent_proj.bias", latent, Draw::bias);
    block.from_latent_bias = builder.vector(prefix + "fc2_latent_proj.bias", hidden, Draw::bias);
  }
  return block;
}

}  // namespace tidemark
