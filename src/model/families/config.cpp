#include "model/families/config.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "base/error.h"

namespace tidemark {

int64_t dimension(const Json& config, std::string_view key, int64_t fallback, int64_t most) {
  if (config.has(key)) return config[key].integer(1, most);
  if (fallback > most)
    fail("{}: key '{}': expected an integer from 1 to {}, found the default {}", config.where(),
         key, most, fallback);
  return fallback;
}

bool flag(const Json& config, std::string_view key, bool fallback) {
  return config.has(key) ? config[key].boolean() : fallback;
}

double finite(const Json& config, std::string_view key, double fallback) {
  if (!config.has(key)) return fallback;
  const double value = config[key].number();
  if (!std::isfinite(value)) config[key].fail_expected("a finite number");
  return value;
}

double positive(const Json& config, std::string_view key, double fallback) {
  const double value = finite(config, key, fallback);
  if (value <= 0) config[key].fail_expected("a positive number");
  return value;
}

std::string_view key_of(const Json& config, std::string_view name, std::string_view other) {
  return config.has(other) ? other : name;
}

void check_divides(const Json& config, std::string_view key, int64_t value, int64_t of,
                   std::string_view of_name) {
  if (of % value == 0) return;
  fail("{}: key '{}': expected a divisor of {} {}, found {}", config.where(), key, of_name, of,
       value);
}

int64_t product(const Json& config, std::string_view key, int64_t a, int64_t b) {
  if (a > max_dimension / b)
    fail("{}: key '{}': expected a width of at most {}, found {} * {}", config.where(), key,
         max_dimension, a, b);
  return a * b;
}

Act activation(const Json& config, std::string_view key, Act fallback) {
  if (!config.has(key)) return fallback;
  const std::string name = config[key].string();
  if (name == "silu" || name == "swish") return Act::silu;
  if (name == "gelu") return Act::gelu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast")
    return Act::gelu_tanh;
  if (name == "relu2") return Act::relu2;
  config[key].fail_expected("silu, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh or relu2");
}

void require_silu(const Json& config, std::string_view key) {
  if (!config.has(key)) return;
  const std::string name = config[key].string();
  if (name != "silu" && name != "swish") config[key].fail_expected("silu");
}

void require_flag(const Json& config, std::string_view key, bool expected) {
  if (flag(config, key, expected) != expected)
    config[key].fail_expected(fmt::format("{}, the only form supported", expected));
}

Heads read_heads(const Json& config, int64_t hidden, int64_t default_heads,
                 std::optional<int64_t> default_kv_heads, int64_t head_dim) {
  Heads out;
  out.heads = dimension(config, "num_attention_heads", default_heads, max_heads);
  // An explicit null means as many as query heads; an absent key takes the family's default.
  const bool as_query = config.has_null("num_key_value_heads") || !default_kv_heads;
  out.kv_heads =
      dimension(config, "num_key_value_heads", as_query ? out.heads : *default_kv_heads, max_heads);
  check_divides(config, "num_key_value_heads", out.kv_heads, out.heads, "num_attention_heads");
  if (head_dim > 0) {
    out.head_dim = head_dim;
  } else if (config.has("head_dim")) {
    out.head_dim = dimension(config, "head_dim", 0, max_head_dim);
  } else {
    check_divides(config, "num_attention_heads", out.heads, hidden, "hidden_size");
    out.head_dim = hidden / out.heads;
    if (out.head_dim > max_head_dim)
      fail("{}: key 'num_attention_heads': expected heads of at most {}, found {} of {}",
           config.where(), max_head_dim, out.heads, out.head_dim);
  }
  product(config, "head_dim", out.heads, out.head_dim);
  return out;
}

namespace {

struct RopeConfig {
  const Json& config;
  std::optional<Json> parameters;  // the dictionary, when there is one

  bool has(std::string_view key) const { return parameters && parameters->has(key); }
  // A key of the dictionary, else of the config itself, else the fallback.
  const Json& holder(std::string_view key) const { return has(key) ? *parameters : config; }
  double number(std::string_view key, double fallback) const {
    return positive(holder(key), key, fallback);
  }
  double required(std::string_view key) const { return positive(*parameters, key, -1); }
};

// Frequencies below are stretched by `factor`, above kept, between blended by wavelength.
// modeling_rope_utils.py: _compute_llama3_parameters.
void scale_llama3(const RopeConfig& rope, double original_length, std::vector<double>& inv_freq) {
  const double factor = rope.required("factor");
  const double low = rope.required("low_freq_factor");
  const double high = rope.required("high_freq_factor");
  if (high <= low)
    (*rope.parameters)["high_freq_factor"].fail_expected("more than low_freq_factor");
  for (double& frequency : inv_freq) {
    const double wavelength = 2 * std::numbers::pi / frequency;
    const double smooth = std::clamp((original_length / wavelength - low) / (high - low), 0.0, 1.0);
    frequency *= (1 - smooth) / factor + smooth;
  }
}

// YaRN (arXiv 2309.00071) as modeling_rope_utils.py: _compute_yarn_parameters has it.
void scale_yarn(const RopeConfig& rope, double original_length, double max_length, double theta,
                RopeSpec& out) {
  const double factor = rope.has("factor") ? rope.required("factor") : max_length / original_length;
  const auto attention_scale = [&](double weight) {
    return factor <= 1 ? 1.0 : 0.1 * weight * std::log(factor) + 1.0;
  };
  if (rope.has("attention_factor")) {
    out.amplitude = rope.required("attention_factor");
  } else if (rope.has("mscale") && rope.has("mscale_all_dim")) {
    out.amplitude =
        attention_scale(rope.required("mscale")) / attention_scale(rope.required("mscale_all_dim"));
  } else {
    out.amplitude = attention_scale(1);
  }
  const auto dim = static_cast<double>(out.rotary_dim);
  const auto pair_of_rotations = [&](double rotations) {
    return dim * std::log(original_length / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(theta));
  };
  double low = pair_of_rotations(rope.has("beta_fast") ? rope.required("beta_fast") : 32);
  double high = pair_of_rotations(rope.has("beta_slow") ? rope.required("beta_slow") : 1);
  if (!rope.has("truncate") || (*rope.parameters)["truncate"].boolean()) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  for (size_t pair = 0; pair < out.inv_freq.size(); ++pair) {
    const double ramp = std::clamp((static_cast<double>(pair) - low) / (high - low), 0.0, 1.0);
    out.inv_freq[pair] *= ramp / factor + (1 - ramp);
  }
}

std::vector<double> stretch(const RopeConfig& rope, std::string_view key,
                            const std::vector<double>& inv_freq) {
  const Json factors = (*rope.parameters)[key];
  if (factors.size() != inv_freq.size())
    factors.fail_expected(fmt::format("{} factors", inv_freq.size()));
  std::vector<double> out = inv_freq;
  for (size_t i = 0; i < out.size(); ++i) {
    const double factor = factors[i].number();
    if (!std::isfinite(factor) || factor <= 0) factors[i].fail_expected("a positive number");
    out[i] /= factor;
  }
  return out;
}

// LongRoPE (arXiv 2402.13753) as modeling_rope_utils.py: _compute_longrope_parameters has it: one
// set of factors up to the original length, another beyond.
void scale_longrope(const RopeConfig& rope, double original_length, double max_length,
                    RopeSpec& out) {
  const double factor = rope.has("factor") ? rope.required("factor") : max_length / original_length;
  if (rope.has("attention_factor"))
    out.amplitude = rope.required("attention_factor");
  else if (factor > 1)
    out.amplitude = std::sqrt(1 + std::log(factor) / std::log(original_length));
  out.long_inv_freq = stretch(rope, "long_factor", out.inv_freq);
  out.inv_freq = stretch(rope, "short_factor", out.inv_freq);
  out.short_positions = static_cast<int64_t>(original_length);
}

// The first of both that is there and not empty.
std::optional<Json> read_parameters(const Json& config) {
  for (std::string_view key : {"rope_scaling", "rope_parameters"}) {
    if (!config.has(key)) continue;
    const Json parameters = config[key];
    if (!parameters.is_object()) parameters.fail_expected("an object");
    for (const std::string& name : parameters.keys())
      if (parameters[name].is_object()) parameters[name].fail_expected("one value for all layers");
    if (!parameters.keys().empty()) return parameters;
  }
  return std::nullopt;
}

std::string read_type(const RopeConfig& rope, bool longrope_alone) {
  const std::string_view key = rope.has("rope_type") ? "rope_type" : "type";
  if (!rope.has(key)) return "default";
  const Json value = (*rope.parameters)[key];
  const std::string type = value.string();
  if (longrope_alone) {
    if (type == "default") return type;
    if (type == "longrope" || type == "yarn" || type == "su") return "longrope";
    value.fail_expected("default or longrope (yarn and su mean it too)");
  }
  for (std::string_view known : {"default", "linear", "llama3", "yarn", "longrope"})
    if (type == known) return type;
  value.fail_expected("default, linear, llama3, yarn or longrope (others are not supported)");
}

}  // namespace

RopeSpec read_rope(const Json& config, int64_t head_dim, const RopeRules& rules) {
  const RopeConfig rope{config, read_parameters(config)};
  RopeSpec out;
  const double theta = rope.number("rope_theta", rules.theta);
  if (theta <= 1) rope.holder("rope_theta")["rope_theta"].fail_expected("more than 1");
  const bool given = rules.top_fraction || rope.has("partial_rotary_factor");
  const double fraction =
      given ? rope.number("partial_rotary_factor", rules.fraction) : rules.fraction;
  if (!rules.partial && fraction != 1)
    fail(
        "{}: key 'partial_rotary_factor': expected 1, as this family rotates whole heads, found {}",
        config.where(), fraction);
  // Frequencies are those of the part as it is; pairs take an odd one to the even width above.
  const auto part = static_cast<int64_t>(static_cast<double>(head_dim) * std::min(fraction, 1.0));
  out.rotary_dim = part + part % 2;
  if (fraction > 1 || part == 0 || out.rotary_dim > head_dim)
    fail("{}: key 'partial_rotary_factor': expected pairs of a part of head_dim {}, found {}",
         config.where(), head_dim, fraction);
  for (int64_t i = 0; i < part; i += 2)
    out.inv_freq.push_back(std::pow(theta, -static_cast<double>(i) / static_cast<double>(part)));

  const std::string type = read_type(rope, rules.longrope_alone);
  if (type == "default") return out;
  if (type == "linear") {
    for (double& frequency : out.inv_freq) frequency /= rope.required("factor");
    return out;
  }
  const double max_length =
      positive(config, "max_position_embeddings", static_cast<double>(rules.max_positions));
  // transformers gives the length at the top of the config, where there is one, priority.
  const char* key = "original_max_position_embeddings";
  const bool top = config.has(key) || rules.original_positions > 0;
  const double original_length =
      top ? positive(config, key, static_cast<double>(rules.original_positions))
          : rope.number(key, max_length);
  if (type == "llama3")
    scale_llama3(rope, original_length, out.inv_freq);
  else if (type == "yarn")
    scale_yarn(rope, original_length, max_length, theta, out);
  else
    scale_longrope(rope, original_length, max_length, out);
  return out;
}

std::vector<std::string> read_layer_kinds(const Json& config, std::string_view key,
                                          int64_t layers) {
  const Json list = config[key];
  if (static_cast<int64_t>(list.size()) != layers)
    list.fail_expected(fmt::format("{} layers", layers));
  std::vector<std::string> kinds;
  for (size_t i = 0; i < list.size(); ++i) {
    kinds.push_back(list[i].string());
    if (kinds.back() == "mamba") kinds.back() = "linear_attention";
    if (kinds.back() == "attention") kinds.back() = "full_attention";
  }
  return kinds;
}

// Positions each layer sees; 0 for all.
std::vector<int64_t> read_qwen_windows(const Json& config, int64_t layers) {
  const bool slides = flag(config, "use_sliding_window", false);
  // An explicit null means no window; an absent key takes the default.
  const int64_t window =
      slides && !config.has_null("sliding_window") ? dimension(config, "sliding_window", 4096) : 0;
  std::vector<int64_t> windows(static_cast<size_t>(layers), 0);
  if (config.has("layer_types")) {
    const Json types = config["layer_types"];
    if (types.size() != windows.size())
      types.fail_expected("num_hidden_layers " + std::to_string(layers) + " elements");
    for (size_t i = 0; i < windows.size(); ++i) {
      const std::string type = types[i].string();
      if (type == "sliding_attention" && window > 0) {
        windows[i] = window;
      } else if (type == "sliding_attention") {
        types[i].fail_expected(slides ? "full_attention, as sliding_window is null"
                                      : "full_attention, as use_sliding_window is false");
      } else if (type != "full_attention" && type != "attention") {
        types[i].fail_expected("full_attention or sliding_attention");
      }
    }
    return windows;
  }
  const int64_t first =
      config.has("max_window_layers") ? config["max_window_layers"].integer(0) : 28;
  for (int64_t i = first; i < layers; ++i) windows[static_cast<size_t>(i)] = window;
  return windows;
}

std::vector<bool> read_layer_flags(const Json& config, std::string_view key, int64_t layers) {
  std::vector<bool> flags(static_cast<size_t>(layers));
  if (!config.has(key)) return flags;
  const Json list = config[key];
  // Of a model cut short the list may still name layers that are gone.
  for (size_t i = 0; i < list.size(); ++i)
    if (const int64_t layer = list[i].integer(0); layer < layers)
      flags[static_cast<size_t>(layer)] = true;
  return flags;
}

int64_t read_dt_rank(const Json& config, std::string_view key, int64_t hidden) {
  if (!config.has(key) || (config[key].is_string() && config[key].string() == "auto"))
    return (hidden + 15) / 16;
  return config[key].integer(1, max_dimension);
}

TimeStepLimit read_time_step_limit(const Json& config, std::string_view key) {
  TimeStepLimit limit;
  if (!config.has(key)) return limit;
  const Json pair = config[key];
  if (pair.size() != 2) pair.fail_expected("[least, most]");
  limit.least = pair[size_t{0}].number();
  limit.most = pair[size_t{1}].number();
  if (!std::isfinite(limit.least) || limit.least < 0)
    pair[size_t{0}].fail_expected("a number of at least 0");
  if (!(limit.most > 0 && limit.most >= limit.least))
    pair[size_t{1}].fail_expected("a number above the first");
  if (std::isinf(limit.most)) limit.most = 0;
  return limit;
}

}  // namespace tidemark
