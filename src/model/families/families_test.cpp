#include "model/families/families.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <variant>

#include "base/error.h"
#include "base/file.h"
#include "config_spec.h"
#include "model/load.h"

namespace tidemark {
namespace {

using Config = nlohmann::json;

Config golden_config(const std::string& name) {
  return Config::parse(read_text(TIDEMARK_TEST_DATA "/golden/" + name + "-tiny/config.json"));
}

// The error of a golden config with one key changed.
std::string error_with(const std::string& golden, const std::string& key, const Config& value) {
  Config config = golden_config(golden);
  config[key] = value;
  return error_of(config);
}

template <class Block>
const Block& block(const ModelSpec& spec, size_t layer = 0, size_t sublayer = 0, size_t i = 0) {
  return std::get<Block>(spec.layers.at(layer).sublayers.at(sublayer).parallel.at(i));
}

const Weight& weight(const ModelSpec& spec, WeightId id) {
  return spec.weights.at(static_cast<size_t>(id));
}

std::vector<float> scales(const ModelSpec& spec, WeightId id) {
  std::vector<float> out;
  for (const WeightPart& part : weight(spec, id).parts) out.push_back(part.scale);
  return out;
}

void expect_near(const std::vector<double>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i)
    EXPECT_NEAR(actual[i], expected[i], 1e-12 * expected[i]) << i;
}

void expect_same_weights(const ModelSpec& a, const ModelSpec& b) {
  ASSERT_EQ(a.weights.size(), b.weights.size());
  for (size_t i = 0; i < a.weights.size(); ++i) {
    EXPECT_EQ(a.weights[i].name, b.weights[i].name);
    EXPECT_EQ(a.weights[i].rows, b.weights[i].rows) << a.weights[i].name;
    EXPECT_EQ(a.weights[i].cols, b.weights[i].cols) << a.weights[i].name;
  }
}

TEST(Families, an_unknown_one_is_answered_with_those_known) {
  EXPECT_EQ(
      error_of({{"model_type", "bert"}}),
      "config.json: key 'model_type': expected one of bamba, falcon_h1, falcon_mamba, gpt_neo, "
      "granitemoehybrid, hymba, jamba, lfm2, llama, mamba, mamba2, nemotron_h, phi3, qwen2, "
      "qwen3, qwen3_next, recurrent_gemma, tidemark_generic, zamba2, "
      "found a string 'bert'");
  EXPECT_EQ(error_of({{"hidden_size", 4}}), "config.json: key 'model_type': missing");
  EXPECT_EQ(error_of(Config::array()), "config.json: expected an object, found an array of 0");
  EXPECT_EQ(error_of({{"model_type", 3}}),
            "config.json: key 'model_type': expected a string, found 3");
}

TEST(Families, impossible_numbers_are_named) {
  const struct {
    const char* golden;
    const char* key;
    Config value;
    const char* error;
  } cases[] = {
      {"llama-3.2", "num_attention_heads", 7, "expected a divisor of hidden_size 64, found 7"},
      {"llama-3.2", "num_key_value_heads", 3,
       "expected a divisor of num_attention_heads 4, found 3"},
      {"llama-3.2", "hidden_size", 0, "expected an integer from 1 to 16777216, found 0"},
      {"llama-3.2", "hidden_size", -64, "expected an integer from 1 to 16777216, found -64"},
      {"llama-3.2", "hidden_size", "64",
       "expected an integer from 1 to 16777216, found a string '64'"},
      {"llama-3.2", "hidden_size", 1e300, "expected an integer from 1 to 16777216, found 1e+300"},
      {"llama-3.2", "hidden_size", 64.5, "expected an integer from 1 to 16777216, found 64.5"},
      {"llama-3.2", "num_hidden_layers", 1'000'000'000,
       "expected an integer from 1 to 4096, found 1000000000"},
      {"llama-3.2", "head_dim", 15, "expected pairs of a part of head_dim 15, found 1"},
      {"llama-3.2", "head_dim", 1'000'000, "expected an integer from 1 to 8192, found 1000000"},
      {"llama-3.2", "rms_norm_eps", 0, "expected a positive number, found 0"},
      {"llama-3.2", "rms_norm_eps", "x", "expected a number, found a string 'x'"},
      {"llama-3.2", "tie_word_embeddings", 1, "expected true or false, found 1"},
      {"llama-3.2", "hidden_act", "tanh",
       "expected silu, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh or relu2, found a string "
       "'tanh'"},
      {"llama-3.2", "vocab_size", Config::object(),
       "expected an integer from 1 to 16777216, found an object"},
      {"llama-3.2", "rope_parameters", 5, "expected an object, found 5"},
      {"qwen2.5", "num_attention_heads", 5, "expected a divisor of hidden_size 56, found 5"},
      {"qwen2.5", "layer_types", Config::array({"full_attention"}),
       "expected num_hidden_layers 4 elements, found an array of 1"},
      {"mamba", "hidden_act", "gelu", "expected silu, found a string 'gelu'"},
      {"mamba", "time_step_rank", 0, "expected an integer from 1 to 16777216, found 0"},
      {"mamba", "conv_kernel", 0, "expected an integer from 1 to 16777216, found 0"},
      {"mamba2", "n_groups", 3, "expected a divisor of num_heads 8, found 3"},
      {"mamba2", "num_heads", 7,
       "expected num_heads * head_dim to be expand * hidden_size 128, found 7 * 16"},
      {"mamba2", "time_step_limit", Config::array({0.0}),
       "expected [least, most], found an array of 1"},
      {"falcon-h1", "mamba_n_heads", 5, "expected a divisor of mamba_d_ssm 96, found 5"},
      {"falcon-h1", "mamba_d_head", 17, "expected mamba_d_ssm 96 / mamba_n_heads 6, found 17"},
      {"falcon-h1", "mamba_n_groups", 4, "expected a divisor of mamba_n_heads 6, found 4"},
      {"falcon-h1", "ssm_multipliers", Config::array({1, 2}),
       "expected 5 multipliers, found an array of 2"},
  };
  for (const auto& c : cases) {
    const std::string error = error_with(c.golden, c.key, c.value);
    // The rotary width is refused under the key that would mend it.
    const std::string key = std::string(c.error).find("pairs of a part") == std::string::npos
                                ? c.key
                                : "partial_rotary_factor";
    EXPECT_EQ(error, "config.json: key '" + key + "': " + c.error);
  }
  EXPECT_EQ(error_with("mamba2", "time_step_limit", {0.2, 0.1}),
            "config.json: key 'time_step_limit[1]': expected a number above the first, found 0.1");
  EXPECT_EQ(error_with("falcon-h1", "mlp_multipliers", {1.0, "x"}),
            "config.json: key 'mlp_multipliers[1]': expected a number, found a string 'x'");
}

TEST(Families, products_of_legal_numbers_do_not_overflow) {
  Config config = golden_config("llama-3.2");
  config["hidden_size"] = 1 << 24;
  config["num_attention_heads"] = 1 << 16;
  config["head_dim"] = 8192;
  EXPECT_EQ(error_of(config),
            "config.json: key 'head_dim': expected a width of at most 16777216, found 65536 * "
            "8192");
  config["num_attention_heads"] = config["num_key_value_heads"] = 2048;
  config["intermediate_size"] = config["vocab_size"] = 1 << 24;
  config["num_hidden_layers"] = 4096;
  EXPECT_TRUE(error_of(config).starts_with("config.json: expected at most 2^50 parameters, found"))
      << error_of(config);
}

// Every number is legal, and the tensors to list would take more memory than any machine has.
TEST(Families, a_small_file_cannot_ask_for_tensors_without_end) {
  Config config = golden_config("jamba");
  config["num_hidden_layers"] = 4096;
  config["num_experts"] = 65536;
  config.erase("layers_block_type");
  EXPECT_EQ(error_of(config),
            "config.json: expected a model of at most 1048576 tensors, found more");
}

TEST(Families, absent_keys_take_the_defaults_of_transformers) {
  const ModelSpec llama = spec_of({{"model_type", "llama"}, {"num_hidden_layers", 1}});
  EXPECT_EQ(llama.hidden, 4096);
  EXPECT_EQ(llama.vocab, 32000);
  EXPECT_NE(llama.lm_head, llama.embedding);
  EXPECT_EQ(llama.final_norm.eps, 1e-6);
  EXPECT_EQ(block<AttentionBlock>(llama).kv_heads, 32);
  EXPECT_EQ(block<MlpBlock>(llama, 0, 1).width, 11008);
  const ModelSpec qwen2 = spec_of({{"model_type", "qwen2"}, {"num_hidden_layers", 1}});
  EXPECT_EQ(qwen2.vocab, 151936);
  EXPECT_EQ(block<MlpBlock>(qwen2, 0, 1).width, 22016);
  EXPECT_EQ(block<AttentionBlock>(qwen2).window, 0);
  const ModelSpec mamba = spec_of({{"model_type", "mamba"}});
  EXPECT_EQ(mamba.layers.size(), 32U);
  EXPECT_EQ(mamba.lm_head, mamba.embedding);
  EXPECT_EQ(block<Mamba1Block>(mamba).dt_rank, 48);
  EXPECT_EQ(block<Mamba1Block>(mamba).in_bias, no_weight);
  EXPECT_NE(block<Mamba1Block>(mamba).conv_bias, no_weight);
  const ModelSpec mamba2 = spec_of({{"model_type", "mamba2"}});
  EXPECT_EQ(mamba2.hidden, 4096);
  EXPECT_EQ(mamba2.layers.size(), 64U);
  EXPECT_NE(mamba2.lm_head, mamba2.embedding);
  EXPECT_EQ(block<Mamba2Block>(mamba2).groups, 8);
  EXPECT_EQ(block<Mamba2Block>(mamba2).chunk, 256);
  EXPECT_EQ(block<Mamba2Block>(mamba2).dt_max, 0);
  const ModelSpec falcon = spec_of({{"model_type", "falcon_h1"}, {"num_hidden_layers", 1}});
  EXPECT_EQ(block<AttentionBlock>(falcon).kv_heads, 8);
  EXPECT_EQ(block<Mamba2Block>(falcon, 0, 0, 1).head_dim, 8);  // 1024 / 128
  EXPECT_EQ(block<Mamba2Block>(falcon, 0, 0, 1).state, 256);
  EXPECT_FALSE(block<Mamba2Block>(falcon, 0, 0, 1).gated_norm);
}

// transformers computes without them, other programs with them.
TEST(Families, keys_that_only_other_programs_know_are_refused) {
  const struct {
    const char* golden;
    const char* key;
    Config neutral;
    Config value;
    const char* error;
  } cases[] = {
      {"llama-3.2", "attn_logit_softcapping", nullptr, 50.0, "expected null, found 50.0"},
      {"qwen3", "final_logit_softcapping", nullptr, 30.0, "expected null, found 30.0"},
      {"jamba", "clip_qkv", nullptr, 8, "expected null, found 8"},
      {"llama-3.2", "logit_scale", 1.0, 0.5, "expected 1, found 0.5"},
      {"mamba2", "rms_norm", true, false, "expected true, the only form supported, found false"},
      {"qwen3-next", "attn_output_gate", true, false,
       "expected true, the only form supported, found false"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(error_with(c.golden, c.key, c.neutral), "no error") << c.key;
    EXPECT_EQ(error_with(c.golden, c.key, c.value),
              std::string("config.json: key '") + c.key + "': " + c.error);
  }
}

TEST(Families, null_kv_heads_are_as_many_as_query_heads) {
  Config config = golden_config("falcon-h1");
  config["num_key_value_heads"] = nullptr;
  EXPECT_EQ(block<AttentionBlock>(spec_of(config)).kv_heads, 4);
}

// Of the first layer that has positions.
RopeSpec rope_of(const Config& config) {
  for (const LayerSpec& layer : spec_of(config).layers)
    for (const Sublayer& sublayer : layer.sublayers) {
      if (sublayer.side) return sublayer.side->attention.rope.value();
      for (const Block& block : sublayer.parallel)
        if (const auto* attention = std::get_if<AttentionBlock>(&block))
          return attention->rope.value();
    }
  ADD_FAILURE() << "no attention";
  return {};
}

TEST(Rope, both_spellings_agree) {
  Config old = golden_config("llama-3.2");
  const ModelSpec now = spec_of(old);
  const Config parameters = old["rope_parameters"];
  old.erase("rope_parameters");
  old["rope_theta"] = parameters["rope_theta"];
  old["rope_scaling"] = parameters;
  old["rope_scaling"].erase("rope_theta");
  old["rope_scaling"]["type"] = old["rope_scaling"]["rope_type"];
  old["rope_scaling"].erase("rope_type");
  const std::optional<RopeSpec> rope = block<AttentionBlock>(spec_of(old)).rope;
  ASSERT_TRUE(rope);
  EXPECT_EQ(rope->inv_freq, block<AttentionBlock>(now).rope->inv_freq);
  old["rope_scaling"] = nullptr;
  EXPECT_NE(block<AttentionBlock>(spec_of(old)).rope->inv_freq, rope->inv_freq);
}

std::vector<double> frequencies(const Config& rope, int64_t head_dim) {
  Config config = golden_config("tinyllama");
  config["rope_parameters"] = rope;
  config["head_dim"] = head_dim;
  return block<AttentionBlock>(spec_of(config)).rope->inv_freq;
}

// Expected values: the formulas of modeling_rope_utils.py evaluated in Python.
TEST(Rope, scalings_follow_transformers) {
  expect_near(frequencies({{"rope_type", "default"}, {"rope_theta", 10000.0}}, 8),
              {1, 0.1, 0.01, 0.001});
  expect_near(frequencies({{"rope_type", "linear"}, {"rope_theta", 10000.0}, {"factor", 4}}, 8),
              {0.25, 0.025, 0.0025, 0.00025});
  expect_near(
      frequencies({{"rope_type", "llama3"},
                   {"rope_theta", 500000.0},
                   {"factor", 32.0},
                   {"low_freq_factor", 1.0},
                   {"high_freq_factor", 4.0},
                   {"original_max_position_embeddings", 64}},
                  16),
      {1.0, 0.0671330375110499, 0.001175188466589498, 0.00022789577303803464, 4.419417382415922e-05,
       8.570255489881478e-06, 1.661967467795309e-06, 3.2229329303788936e-07});
  const Config yarn = {{"rope_type", "yarn"},
                       {"rope_theta", 10000.0},
                       {"factor", 4.0},
                       {"original_max_position_embeddings", 2048}};
  expect_near(frequencies(yarn, 16), {1.0, 0.31622776601683794, 0.1, 0.02569350598886808, 0.00625,
                                      0.0013834964763236657, 0.00025, 7.905694150420948e-05});
  Config exact = yarn;
  exact["truncate"] = false;
  expect_near(frequencies(exact, 16),
              {1.0, 0.31622776601683794, 0.1, 0.023870192321736323, 0.005056971521129435,
               0.0008112903817014309, 0.00025, 7.905694150420948e-05});
  Config config = golden_config("tinyllama");
  config["rope_parameters"] = yarn;
  EXPECT_NEAR(block<AttentionBlock>(spec_of(config)).rope->amplitude, 1.138629436111989, 1e-14);
}

// Phi-3-mini-128k's lengths give the amplitude sqrt(1 + ln 32 / ln 4096) that its card states.
TEST(Rope, longrope_has_factors_for_short_and_long) {
  Config config = golden_config("phi3");
  config["max_position_embeddings"] = 131072;
  config["original_max_position_embeddings"] = 4096;
  config["rope_parameters"] = {{"rope_type", "longrope"},
                               {"rope_theta", 10000.0},
                               {"short_factor", {1, 1, 1, 1, 1, 1, 1, 2}},
                               {"long_factor", {4, 4, 4, 4, 4, 4, 4, 8}}};
  const ModelSpec spec = spec_of(config);
  const RopeSpec& rope = *std::get<AttentionBlock>(spec.layers[0].sublayers[0].parallel[0]).rope;
  EXPECT_NEAR(rope.amplitude, 1.1902380714238083, 1e-12);
  EXPECT_EQ(rope.short_positions, 4096);
  EXPECT_NEAR(rope.inv_freq[0], 1, 1e-12);
  EXPECT_NEAR(rope.long_inv_freq[0], 0.25, 1e-12);
  const double last = std::pow(10000.0, -14.0 / 16);
  EXPECT_NEAR(rope.inv_freq[7], last / 2, 1e-12);
  EXPECT_NEAR(rope.long_inv_freq[7], last / 8, 1e-12);
  config["rope_parameters"]["long_factor"] = {1, 1};
  EXPECT_EQ(
      error_of(config),
      "config.json: key 'rope_parameters.long_factor': expected 8 factors, found an array of 2");
}

TEST(Rope, types_we_lack_and_missing_factors_are_named) {
  EXPECT_EQ(error_with("llama-3.2", "rope_parameters",
                       {{"rope_type", "dynamic"}, {"rope_theta", 1e4}, {"factor", 2.0}}),
            "config.json: key 'rope_parameters.rope_type': expected default, linear, llama3, yarn "
            "or longrope "
            "(others are not supported), found a string 'dynamic'");
  EXPECT_EQ(error_with("llama-3.2", "rope_scaling", {{"type", "longrope"}}),
            "config.json: key 'rope_scaling.long_factor': missing");
  EXPECT_EQ(error_with("llama-3.2", "rope_parameters", {{"rope_type", "linear"}}),
            "config.json: key 'rope_parameters.factor': missing");
  EXPECT_EQ(error_with("llama-3.2", "rope_parameters", {{"rope_type", "linear"}, {"factor", "x"}}),
            "config.json: key 'rope_parameters.factor': expected a number, found a string 'x'");
  EXPECT_EQ(error_with("llama-3.2", "rope_parameters", {{"rope_theta", -1}}),
            "config.json: key 'rope_parameters.rope_theta': expected a positive number, found -1");
  Config llama3 = golden_config("llama-3.2")["rope_parameters"];
  llama3["high_freq_factor"] = 1.0;
  EXPECT_EQ(error_with("llama-3.2", "rope_parameters", llama3),
            "config.json: key 'rope_parameters.high_freq_factor': expected more than "
            "low_freq_factor, found 1.0");
}

TEST(Rope, an_empty_rope_scaling_is_none) {
  Config config = golden_config("llama-3.2");
  const RopeSpec expected = rope_of(config);
  config["rope_scaling"] = Config::object();
  EXPECT_EQ(rope_of(config), expected);
  config["rope_parameters"] = Config::object();
  EXPECT_NE(rope_of(config), expected);
}

TEST(Rope, parameters_by_layer_type_are_refused) {
  Config config = golden_config("llama-3.2");
  config["rope_parameters"] = {{"full_attention", config["rope_parameters"]},
                               {"sliding_attention", config["rope_parameters"]}};
  EXPECT_EQ(error_of(config),
            "config.json: key 'rope_parameters.full_attention': expected one value for all "
            "layers, found an object");
}

TEST(Rope, bamba_rotates_half_of_each_head_whatever_stands_at_the_top) {
  Config config = golden_config("bamba");
  config["partial_rotary_factor"] = 1.0;
  config["rope_parameters"].erase("partial_rotary_factor");
  EXPECT_EQ(rope_of(config).rotary_dim, 8);
  config["rope_parameters"]["partial_rotary_factor"] = 1.0;
  EXPECT_EQ(rope_of(config).rotary_dim, 16);
}

// transformers: dim = int(head_dim * factor); one frequency for each of arange(0, dim, 2) / dim;
// and as many pairs as frequencies are rotated.
TEST(Rope, an_odd_part_is_rounded_up_to_pairs_of_its_own_frequencies) {
  Config config = golden_config("bamba");
  config["head_dim"] = 18;
  const RopeSpec rope = rope_of(config);
  EXPECT_EQ(rope.rotary_dim, 10);
  const double theta = config["rope_parameters"]["rope_theta"];
  expect_near(rope.inv_freq, {1, std::pow(theta, -2.0 / 9), std::pow(theta, -4.0 / 9),
                              std::pow(theta, -6.0 / 9), std::pow(theta, -8.0 / 9)});
}

TEST(Rope, a_part_where_transformers_rotates_whole_heads_is_refused) {
  for (const char* golden : {"llama-3.2", "qwen2.5", "qwen3", "lfm2", "falcon-h1", "zamba2-1.2b"}) {
    Config config = golden_config(golden);
    config["partial_rotary_factor"] = 1.0;
    if (golden == std::string("zamba2-1.2b")) config["use_mem_rope"] = true;
    EXPECT_EQ(error_of(config), "no error") << golden;
    config["partial_rotary_factor"] = 0.5;
    EXPECT_EQ(error_of(config),
              "config.json: key 'partial_rotary_factor': expected 1, as this family rotates whole "
              "heads, found 0.5")
        << golden;
  }
}

// Membership is all that transformers asks of these lists.
TEST(Families, lists_may_name_layers_that_a_shorter_model_lacks) {
  Config next = golden_config("qwen3-next");
  next["mlp_only_layers"] = {1, 9};
  EXPECT_EQ(error_of(next), "no error");
  Config hymba = golden_config("hymba");
  hymba["global_attn_idx"] = {0, 40};
  hymba["kv_reuse_group"] = {{1, 2, 30}, {31, 32}};
  EXPECT_EQ(error_of(hymba), "no error");
}

TEST(Families, numbers_of_what_is_not_there_may_be_zero) {
  Config jamba = golden_config("jamba");
  jamba["num_experts"] = 0;
  ASSERT_EQ(error_of(jamba), "no error");
  EXPECT_EQ(block<MlpBlock>(spec_of(jamba), 0, 1).width, 128);
  Config granite = golden_config("granite-hybrid");
  granite["num_local_experts"] = granite["intermediate_size"] = 0;
  EXPECT_EQ(error_of(granite), "no error");
  Config qwen = golden_config("qwen2.5");
  qwen["use_sliding_window"] = false;
  qwen["sliding_window"] = 0;
  qwen.erase("layer_types");
  EXPECT_EQ(error_of(qwen), "no error");
}

TEST(Rope, phi3_takes_the_original_length_from_the_top_alone) {
  Config config = golden_config("phi3-longrope-long");
  config["rope_parameters"]["original_max_position_embeddings"] = 64;
  EXPECT_EQ(rope_of(config).short_positions, 16);
  config.erase("original_max_position_embeddings");
  EXPECT_EQ(rope_of(config).short_positions, 4096);
  EXPECT_EQ(rope_of(config).amplitude, 1);  // 256 positions are fewer
}

TEST(Rope, phi3_means_longrope_by_yarn_and_su_and_knows_no_other_type) {
  Config config = golden_config("phi3-longrope-long");
  const RopeSpec expected = rope_of(config);
  for (const char* type : {"yarn", "su"}) {
    config["rope_parameters"]["rope_type"] = type;
    EXPECT_EQ(rope_of(config), expected) << type;
  }
  config["rope_parameters"]["factor"] = 2.0;
  for (const std::string type : {"linear", "llama3"}) {
    config["rope_parameters"]["rope_type"] = type;
    EXPECT_EQ(error_of(config),
              "config.json: key 'rope_parameters.rope_type': expected default or longrope (yarn "
              "and su mean it too), found a string '" +
                  type + "'");
  }
  Config llama = golden_config("llama-3.2");
  llama["rope_parameters"] = config["rope_parameters"];
  llama["rope_parameters"]["rope_type"] = "su";
  EXPECT_EQ(error_of(llama),
            "config.json: key 'rope_parameters.rope_type': expected default, linear, llama3, yarn "
            "or longrope (others are not supported), found a string 'su'");
}

// Where a type of scaling needs it, the class's default of max_position_embeddings counts.
TEST(Rope, an_absent_max_position_embeddings_is_the_classes) {
  const struct {
    const char* golden;
    double positions;
  } cases[] = {{"llama-3.2", 2048},      {"qwen2.5", 32768},    {"qwen3", 32768},
               {"qwen3-next", 32768},    {"falcon-h1", 8192},   {"bamba", 262144},
               {"granite-hybrid", 2048}, {"zamba2-1.2b", 4096}, {"lfm2", 128000}};
  for (const auto& c : cases) {
    Config config = golden_config(c.golden);
    config.erase("max_position_embeddings");
    config["position_embedding_type"] = "rope";  // of granite
    config["rope_parameters"] = {
        {"rope_type", "yarn"}, {"factor", nullptr}, {"original_max_position_embeddings", 64}};
    EXPECT_NEAR(rope_of(config).amplitude, 0.1 * std::log(c.positions / 64) + 1, 1e-12) << c.golden;
  }
  Config config = golden_config("phi3-longrope-long");
  config.erase("max_position_embeddings");  // 4096
  EXPECT_NEAR(rope_of(config).amplitude, std::sqrt(1 + std::log(256) / std::log(16)), 1e-12);
  config = golden_config("recurrent-gemma");
  config["rope_parameters"]["rope_type"] = "yarn";
  EXPECT_EQ(error_of(config), "config.json: key 'max_position_embeddings': missing");
}

TEST(Llama, biases_are_honoured) {
  Config config = golden_config("llama-3.2");
  config["attention_bias"] = config["mlp_bias"] = true;
  const ModelSpec spec = spec_of(config);
  const auto& attention = block<AttentionBlock>(spec);
  const auto& mlp = block<MlpBlock>(spec, 0, 1);
  EXPECT_EQ(weight(spec, attention.qkv_bias).rows, 64 + 32 + 32);
  EXPECT_EQ(weight(spec, attention.o_bias).rows, 64);
  EXPECT_EQ(weight(spec, mlp.up_bias).rows, 2 * 160);
  EXPECT_EQ(weight(spec, mlp.down_bias).rows, 64);
  EXPECT_EQ(block<AttentionBlock>(spec_of(golden_config("llama-3.2"))).qkv_bias, no_weight);
}

TEST(Llama, a_head_may_be_wider_than_its_share) {
  Config config = golden_config("llama-3.2");
  config["head_dim"] = 32;
  const ModelSpec spec = spec_of(config);
  const auto& attention = block<AttentionBlock>(spec);
  EXPECT_EQ(weight(spec, attention.qkv).rows, 4 * 32 + 2 * 2 * 32);
  EXPECT_EQ(weight(spec, attention.o).cols, 128);
  EXPECT_EQ(attention.rope->rotary_dim, 32);
}

std::vector<int64_t> windows(const Config& config) {
  const ModelSpec spec = spec_of(config);
  std::vector<int64_t> out;
  for (size_t i = 0; i < spec.layers.size(); ++i)
    out.push_back(block<AttentionBlock>(spec, i).window);
  return out;
}

TEST(Qwen2, slides_where_the_config_says) {
  using List = std::vector<int64_t>;
  Config config = golden_config("qwen2.5");
  config["sliding_window"] = 16;
  EXPECT_EQ(windows(config), (List{0, 0, 0, 0}));
  config["use_sliding_window"] = true;
  EXPECT_EQ(windows(config), (List{0, 0, 0, 0}));  // layer_types say full
  config["layer_types"][2] = "sliding_attention";
  EXPECT_EQ(windows(config), (List{0, 0, 16, 0}));
  config.erase("layer_types");
  EXPECT_EQ(windows(config), (List{0, 0, 0, 0}));  // max_window_layers 28
  config["max_window_layers"] = 1;
  EXPECT_EQ(windows(config), (List{0, 16, 16, 16}));
  config["use_sliding_window"] = false;
  EXPECT_EQ(windows(config), (List{0, 0, 0, 0}));
  config["layer_types"] = {"full_attention", "sliding_attention", "attention", "full_attention"};
  EXPECT_EQ(error_of(config),
            "config.json: key 'layer_types[1]': expected full_attention, as use_sliding_window is "
            "false, found a string 'sliding_attention'");
}

TEST(Qwen2, a_null_window_is_none_and_an_absent_one_the_classes) {
  using List = std::vector<int64_t>;
  for (const char* golden : {"qwen2.5", "qwen3"}) {
    Config config = golden_config(golden);
    config["use_sliding_window"] = true;
    config["sliding_window"] = nullptr;
    config["max_window_layers"] = 0;
    config.erase("layer_types");
    EXPECT_EQ(windows(config), List(windows(config).size(), 0)) << golden;
    config.erase("sliding_window");
    EXPECT_EQ(windows(config), List(windows(config).size(), 4096)) << golden;
  }
  Config config = golden_config("qwen2.5");
  config["use_sliding_window"] = true;
  config["sliding_window"] = nullptr;
  config["layer_types"][1] = "sliding_attention";
  EXPECT_EQ(error_of(config),
            "config.json: key 'layer_types[1]': expected full_attention, as sliding_window is "
            "null, found a string 'sliding_attention'");
}

TEST(Qwen2, has_biases_on_q_k_v_alone) {
  const ModelSpec spec = spec_of(golden_config("qwen2.5"));
  const auto& attention = block<AttentionBlock>(spec);
  EXPECT_EQ(weight(spec, attention.qkv_bias).rows, 56 + 8 + 8);
  EXPECT_EQ(attention.o_bias, no_weight);
}

TEST(Mamba, original_and_transformers_spellings_give_the_same_model) {
  const Config original = {{"d_model", 64},       {"n_layer", 2},
                           {"vocab_size", 50277}, {"ssm_cfg", Config::object()},
                           {"rms_norm", true},    {"pad_vocab_size_multiple", 8}};
  const Config converted = {{"model_type", "mamba"}, {"hidden_size", 64}, {"num_hidden_layers", 2},
                            {"vocab_size", 50280},   {"state_size", 16},  {"expand", 2}};
  expect_same_weights(spec_of(original), spec_of(converted));
  Config second = original;
  second["ssm_cfg"] = {{"layer", "Mamba2"}, {"headdim", 16}, {"ngroups", 2}, {"chunk_size", 64}};
  second["pad_vocab_size_multiple"] = 16;
  const Config converted2 = {{"model_type", "mamba2"},
                             {"hidden_size", 64},
                             {"num_hidden_layers", 2},
                             {"vocab_size", 50288},
                             {"tie_word_embeddings", true},
                             {"num_heads", 8},
                             {"head_dim", 16},
                             {"n_groups", 2},
                             {"chunk_size", 64}};
  const ModelSpec a = spec_of(second), b = spec_of(converted2);
  EXPECT_EQ(a.family, "mamba2");
  expect_same_weights(a, b);
  EXPECT_EQ(block<Mamba2Block>(a).chunk, 64);
  // mamba_ssm normalises by group, transformers over the whole width.
  EXPECT_EQ(block<Mamba2Block>(a).norm_groups, 2);
  EXPECT_EQ(block<Mamba2Block>(b).norm_groups, 1);
}

TEST(Mamba, the_original_spelling_may_have_a_model_type) {
  const Config original = {{"d_model", 64}, {"n_layer", 2}, {"vocab_size", 128}};
  Config config = original;
  config["model_type"] = "mamba";
  EXPECT_EQ(spec_of(config), spec_of(original));
  config["model_type"] = "mamba2";
  EXPECT_EQ(error_of(config),
            "config.json: key 'model_type': expected mamba, which ssm_cfg describes, found a "
            "string 'mamba2'");
  config["ssm_cfg"] = {{"layer", "Mamba2"}, {"headdim", 16}};
  EXPECT_EQ(spec_of(config).family, "mamba2");
  EXPECT_EQ(spec_of(config).layers.size(), 2U);
}

TEST(Mamba, originals_we_can_not_compute_are_refused) {
  const Config original = {{"d_model", 64}, {"n_layer", 2}, {"vocab_size", 50277}};
  const auto with = [&](const char* key, const Config& value) {
    Config config = original;
    config[key] = value;
    return error_of(config);
  };
  EXPECT_EQ(with("rms_norm", false),
            "config.json: key 'rms_norm': expected true, the only form supported, found false");
  EXPECT_EQ(with("attn_layer_idx", {1}),
            "config.json: key 'attn_layer_idx': expected no attention layers, found an array of 1");
  EXPECT_EQ(with("d_intermediate", 128),
            "config.json: key 'd_intermediate': expected 0, as MLP layers are not supported, found "
            "128");
  EXPECT_EQ(with("ssm_cfg", {{"layer", "Mamba3"}}),
            "config.json: key 'ssm_cfg.layer': expected Mamba1 or Mamba2, found a string 'Mamba3'");
  EXPECT_EQ(with("ssm_cfg", {{"d_state", 0}}),
            "config.json: key 'ssm_cfg.d_state': expected an integer from 1 to 16777216, found 0");
  EXPECT_EQ(with("ssm_cfg", {{"layer", "Mamba2"}, {"activation", "relu"}}),
            "config.json: key 'ssm_cfg.activation': expected silu, found a string 'relu'");
  EXPECT_EQ(with("ssm_cfg", {{"layer", "Mamba2"}, {"activation", "swish"}}), "no error");
}

TEST(Mamba2, time_steps_are_clamped_as_configured) {
  Config config = golden_config("mamba2");
  EXPECT_EQ(block<Mamba2Block>(spec_of(config)).dt_max, 0);
  config["time_step_limit"] = {0.001, 0.5};
  EXPECT_EQ(block<Mamba2Block>(spec_of(config)).dt_min, 0.001);
  EXPECT_EQ(block<Mamba2Block>(spec_of(config)).dt_max, 0.5);
  std::string text = golden_config("mamba2").dump();
  const std::string tagged = R"({"__float__":"Infinity"})";
  text.replace(text.find(tagged), tagged.size(), "Infinity");
  EXPECT_EQ(block<Mamba2Block>(make_spec(Json::parse(text, "config.json"))).dt_max, 0);
}

// modeling_falcon_h1.py: a factor on a projection's input leaves its bias alone, one on its output
// scales both.
TEST(FalconH1, multipliers_scale_the_weights_they_act_on) {
  Config config = golden_config("falcon-h1");
  for (const char* key : {"attention_bias", "mlp_bias", "mamba_proj_bias", "projectors_bias"})
    config[key] = true;
  config["attention_in_multiplier"] = 2;
  config["key_multiplier"] = 3;
  config["attention_out_multiplier"] = 5;
  config["ssm_in_multiplier"] = 7;
  config["ssm_out_multiplier"] = 11;
  config["ssm_multipliers"] = {13, 17, 19, 23, 29};
  config["mlp_multipliers"] = {31, 37};
  config["embedding_multiplier"] = 41;
  config["lm_head_multiplier"] = 43;
  const ModelSpec spec = spec_of(config);
  const auto& attention = block<AttentionBlock>(spec);
  using List = std::vector<float>;
  EXPECT_EQ(scales(spec, attention.qkv), (List{2, 6, 2}));
  EXPECT_EQ(scales(spec, attention.qkv_bias), (List{1, 3, 1}));
  EXPECT_EQ(scales(spec, attention.o), (List{5}));
  EXPECT_EQ(scales(spec, attention.o_bias), (List{5}));
  const auto& mamba = block<Mamba2Block>(spec, 0, 0, 1);
  EXPECT_EQ(scales(spec, mamba.in_proj), (List{7 * 13, 7 * 17, 7 * 19, 7 * 23, 7 * 29}));
  EXPECT_EQ(scales(spec, mamba.in_bias), (List{13, 17, 19, 23, 29}));
  EXPECT_EQ(scales(spec, mamba.out_proj), (List{11}));
  EXPECT_EQ(scales(spec, mamba.out_bias), (List{11}));
  EXPECT_EQ(scales(spec, mamba.conv), (List{1}));
  const auto& mlp = block<MlpBlock>(spec, 0, 1);
  EXPECT_EQ(scales(spec, mlp.up), (List{31, 1}));
  EXPECT_EQ(scales(spec, mlp.up_bias), (List{31, 1}));
  EXPECT_EQ(scales(spec, mlp.down), (List{37}));
  EXPECT_EQ(scales(spec, mlp.down_bias), (List{37}));
  EXPECT_EQ(spec.embedding_scale, 41);
  EXPECT_EQ(spec.logits_scale, 43);
  std::vector<int64_t> begins;
  for (const WeightPart& part : weight(spec, mamba.in_proj).parts) begins.push_back(part.row_begin);
  EXPECT_EQ(begins, (std::vector<int64_t>{0, 96, 192, 224, 256}));
}

TEST(FalconH1, the_gated_norm_is_optional_and_by_group) {
  Config config = golden_config("falcon-h1");
  config["mamba_rms_norm"] = true;
  config["mamba_n_groups"] = 2;
  config["mamba_norm_before_gate"] = true;
  const ModelSpec spec = spec_of(config);
  const auto& mamba = block<Mamba2Block>(spec, 0, 0, 1);
  ASSERT_TRUE(mamba.gated_norm);
  EXPECT_EQ(weight(spec, mamba.gated_norm->weight).rows, 96);
  EXPECT_EQ(mamba.norm_groups, 2);
  EXPECT_TRUE(mamba.norm_before_gate);
}

TEST(FalconH1, inner_width_may_follow_from_expand) {
  Config config = golden_config("falcon-h1");
  config["mamba_d_ssm"] = nullptr;
  config["mamba_n_heads"] = 8;
  config["mamba_d_head"] = "auto";
  EXPECT_EQ(block<Mamba2Block>(spec_of(config), 0, 0, 1).head_dim, 16);  // 2 * 64 / 8
}

// A default can be impossible too: transformers then fails at the first token.
TEST(Families, defaults_are_held_against_the_keys_that_bound_them) {
  const struct {
    const char* golden;
    int experts;
    const char* error;
  } cases[] = {{"qwen3-next-moe", 6, "expected an integer from 1 to 6, found the default 10"},
               {"granite-moe", 1, "expected an integer from 1 to 1, found the default 2"}};
  for (const auto& c : cases) {
    Config config = golden_config(c.golden);
    config[std::string(c.golden) == "granite-moe" ? "num_local_experts" : "num_experts"] =
        c.experts;
    config.erase("num_experts_per_tok");
    EXPECT_EQ(error_of(config), std::string("config.json: key 'num_experts_per_tok': ") + c.error);
  }
}

// transformers: layers_num_experts. Where there is one expert, there is no router to choose two.
TEST(Jamba, one_expert_is_an_mlp_however_many_a_token_is_to_visit) {
  Config config = golden_config("jamba");
  config["num_experts"] = 1;
  config["num_experts_per_tok"] = 2;
  ASSERT_EQ(error_of(config), "no error");
  const ModelSpec spec = spec_of(config);
  for (size_t layer = 0; layer < 4; ++layer) EXPECT_EQ(block<MlpBlock>(spec, layer, 1).width, 128);
  config["num_experts"] = 4;
  config["num_experts_per_tok"] = 5;
  EXPECT_EQ(error_of(config),
            "config.json: key 'num_experts_per_tok': expected an integer from 1 to 4, found 5");
}

// transformers' attribute_map, and what its NemotronHConfig was called before: such a key goes
// before the present one.
TEST(Families, other_names_of_keys_are_read) {
  Config config = golden_config("gpt-neo");
  config["num_attention_heads"] = 2;
  EXPECT_EQ(block<AttentionBlock>(spec_of(config)).heads, 2);
  config.erase("num_heads");
  EXPECT_EQ(block<AttentionBlock>(spec_of(config)).heads, 2);
  config.erase("num_layers");
  config["num_hidden_layers"] = 5;
  EXPECT_EQ(error_of(config),
            "config.json: key 'num_hidden_layers': expected as many as attention kinds 4, found 5");
  config["num_hidden_layers"] = 4;
  EXPECT_EQ(spec_of(config).layers.size(), 4U);

  config = golden_config("recurrent-gemma");
  config["sliding_window"] = 5;
  config.erase("attention_window_size");
  EXPECT_EQ(block<AttentionBlock>(spec_of(config), 2).window, 5);

  config = golden_config("jamba");
  config.erase("num_experts");
  config["num_local_experts"] = 4;
  EXPECT_EQ(block<MoeBlock>(spec_of(config), 1, 1).experts, 4);

  config = golden_config("nemotron-moe");
  config.erase("n_routed_experts");
  config["num_local_experts"] = 4;
  EXPECT_EQ(block<MoeBlock>(spec_of(config), 1).experts, 4);
  config["mamba_n_groups"] = 4;
  config["mamba_d_conv"] = 3;
  config["mamba_chunk_size"] = 8;
  config["mamba_dt_min"] = 0.01;
  config["mamba_conv_bias"] = false;
  const ModelSpec spec = spec_of(config);
  const auto& mamba = block<Mamba2Block>(spec);
  EXPECT_EQ(mamba.groups, 4);
  EXPECT_EQ(mamba.conv_width, 3);
  EXPECT_EQ(mamba.chunk, 8);
  EXPECT_EQ(mamba.dt_min, 0.01);
  EXPECT_EQ(mamba.conv_bias, no_weight);
}

TEST(RecurrentGemma, an_absent_mlp_width_does_not_follow_the_hidden_size) {
  Config config = golden_config("recurrent-gemma");
  config.erase("intermediate_size");
  EXPECT_EQ(block<MlpBlock>(spec_of(config), 0, 1).width, 7680 / 2);
}

TEST(Hymba, a_null_window_makes_every_layer_global) {
  Config config = golden_config("hymba");
  EXPECT_EQ(block<ParallelHeadsBlock>(spec_of(config), 1).attention.window, 13);
  config["sliding_window"] = nullptr;
  const ModelSpec spec = spec_of(config);
  for (size_t layer = 0; layer < 6; ++layer) {
    EXPECT_EQ(block<ParallelHeadsBlock>(spec, layer).attention.window, 0);
    EXPECT_EQ(block<ParallelHeadsBlock>(spec, layer).attention.sinks, 0);
  }
}

// transformers 5 computes the same with it; before, it changed rope_theta.
TEST(Zamba2, a_long_context_is_a_number_of_positions) {
  Config config = golden_config("zamba2-1.2b");
  ASSERT_TRUE(config["use_mem_rope"].get<bool>());
  config["max_position_embeddings"] = 16384;
  const ModelSpec expected = spec_of(config);
  config["use_long_context"] = true;
  ASSERT_EQ(error_of(config), "no error");
  EXPECT_EQ(spec_of(config), expected);
  config["max_position_embeddings"] = 4096;
  EXPECT_EQ(error_of(config),
            "config.json: key 'max_position_embeddings': expected 16384, as use_long_context is "
            "true, found 4096");
  config.erase("max_position_embeddings");
  EXPECT_EQ(spec_of(config), expected);
  config.erase("rope_parameters");
  config["rope_theta"] = 10000;
  EXPECT_EQ(error_of(config),
            "config.json: key 'use_long_context': expected false where there are no "
            "rope_parameters, found true");
}

TEST(Zamba2, absent_layer_kinds_are_those_of_the_large_model) {
  const Config config = {{"model_type", "zamba2"}, {"n_mamba_heads", 80}};
  std::vector<size_t> hybrid;
  const ModelSpec spec = spec_of(config);
  for (size_t i = 0; i < spec.layers.size(); ++i)
    if (spec.layers[i].sublayers[0].side) hybrid.push_back(i);
  EXPECT_EQ(hybrid, (std::vector<size_t>{6, 12, 18, 24, 30, 36, 42, 47, 51}));
  Config shorter = config;
  shorter["num_hidden_layers"] = 53;
  EXPECT_EQ(error_of(shorter), "config.json: key 'layers_block_type': missing");
}

TEST(Jamba, a_default_offset_needs_a_longer_period) {
  Config config = golden_config("jamba");
  config["attn_layer_period"] = 4;
  config["attn_layer_offset"] = 4;
  EXPECT_EQ(error_of(config),
            "config.json: key 'attn_layer_offset': expected less than attn_layer_period, found 4");
  config.erase("attn_layer_offset");
  EXPECT_EQ(error_of(config),
            "config.json: key 'attn_layer_period': expected more than the default 4 of "
            "attn_layer_offset, found 4");
}

TEST(NemotronH, a_group_has_two_experts_or_more) {
  Config config = golden_config("nemotron-moe");
  config["n_group"] = config["topk_group"] = config["n_routed_experts"];
  EXPECT_EQ(error_of(config),
            "config.json: key 'n_routed_experts': expected two or more a group, found 6 in 6");
}

// Keys of NVIDIA's config that would make another model of the same tensors.
TEST(Hymba, what_would_change_the_result_unseen_is_refused) {
  const struct {
    const char* key;
    std::vector<Config> neutral;
    Config value;
    const char* error;
  } cases[] = {
      {"memory_tokens_interspersed_every", {0, nullptr}, 64, "expected 0, found 64"},
      {"kv_reuse_every_i_layer", {-1, nullptr}, 2, "expected -1, found 2"},
      {"num_mamba", {1, nullptr}, 2, "expected 1, found 2"},
      {"attn_hidden_size", {-1, 64, nullptr}, 32, "expected -1 or hidden_size 64, found 32"},
      {"kq_head_dim",
       {-1, 16, nullptr},
       8,
       "expected -1 or hidden_size / num_attention_heads 16, found 8"},
      {"kv_weight_reuse",
       {false, nullptr},
       true,
       "expected false, the only form supported, found true"},
      {"hidden_act", {"silu", nullptr}, "gelu", "expected silu, found a string 'gelu'"},
      {"modify_attention_mask",
       {true, nullptr},
       false,
       "expected true, the only form supported, found false"},
      {"v_head_dim",
       {-1, 32, nullptr},
       16,
       "expected -1 or mamba_expand * hidden_size / num_attention_heads 32, found 16"},
      {"rope_scaling",
       {nullptr},
       {{"type", "linear"}, {"factor", 2.0}},
       "expected null, found an object"},
  };
  const ModelSpec expected = spec_of(golden_config("hymba"));
  for (const auto& c : cases) {
    Config config = golden_config("hymba");
    for (const Config& neutral : c.neutral) {
      config[c.key] = neutral;
      EXPECT_EQ(spec_of(config), expected) << c.key;
    }
    EXPECT_EQ(error_with("hymba", c.key, c.value),
              std::string("config.json: key '") + c.key + "': " + c.error);
  }
  Config config = golden_config("hymba");
  config["layer_type"] = {"h", "h", "h", "h", "h", "h"};
  EXPECT_EQ(spec_of(config), expected);
  config["layer_type"][4] = "a";
  EXPECT_EQ(error_of(config), "config.json: key 'layer_type[4]': expected h, found a string 'a'");
}

// transformers makes the projections without biases, whatever the config says.
TEST(NemotronH, attention_has_no_biases) {
  Config config = golden_config("nemotron-h");
  config["attention_bias"] = true;
  ASSERT_EQ(error_of(config), "no error");
  EXPECT_EQ(spec_of(config), spec_of(golden_config("nemotron-h")));
}

}  // namespace
}  // namespace tidemark
