// Models written in generic blocks: two that a family describes too, every block, what is refused,
// and what docs/prediction.md shows.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/verify.h"
#include "base/error.h"
#include "base/file.h"
#include "config_spec.h"
#include "model/families/families.h"
#include "model/load.h"
#include "plan/explain.h"
#include "plan/reference/reference.h"
#include "run_program.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;
using Config = nlohmann::json;

fs::path generic_folder(const std::string& name) {
  return fs::path(TIDEMARK_TEST_DATA) / "generic" / name;
}

Config generic_config(const std::string& name) {
  return Config::parse(read_text(generic_folder(name) / "config.json"));
}

// Tensors, and operators with their shapes and costs.
std::vector<std::string> lines_of(const Plan& plan) {
  std::vector<std::string> lines;
  for (const Tensor& t : plan.tensors)
    lines.push_back(
        fmt::format("{} {} {} {} {}", t.name, name(t.tag), name(t.dtype), t.rows, t.cols));
  for (const Step& step : plan.steps)
    for (const Node& node : step.nodes) {
      const Cost c = cost(node.op, plan);
      lines.push_back(fmt::format("{} {} {} {} {} {}", name(node.op), name(node.role),
                                  shape_text(node.op), c.ops, c.bytes_read, c.bytes_written));
    }
  return lines;
}

class SameModel : public testing::TestWithParam<const char*> {};

// The spec that the family makes, to the last weight's name, and so the same plan and the same
// results as the reference implementation's.
TEST_P(SameModel, AsTheFamilys) {
  const fs::path golden = fs::path(TIDEMARK_TEST_DATA) / "golden" / GetParam();
  ModelSpec generic = load_spec(generic_folder(GetParam()).string());
  ModelSpec family = load_spec(golden.string());
  for (WeightPart& part : family.weights[static_cast<size_t>(family.embedding)].parts)
    part.names.resize(1);  // a family may know several spellings
  EXPECT_EQ(generic.family, "tidemark_generic");
  generic.family = family.family;
  generic.name = family.name;
  generic.declared_positions = family.declared_positions;
  EXPECT_EQ(generic, family);
  const Workload workload{.batch = 2, .context = 37, .new_tokens = 3, .chunk = 16};
  EXPECT_EQ(lines_of(build_plan(generic, workload)), lines_of(build_plan(family, workload)));

  const fs::path folder = fs::path(testing::TempDir()) / (std::string("generic-") + GetParam());
  fs::remove_all(folder);
  fs::create_directories(folder);
  for (const char* file : {"model.safetensors", "golden.safetensors"})
    fs::create_symlink(golden / file, folder / file);
  fs::copy(generic_folder(GetParam()) / "config.json", folder);
  const auto backend = make_cpu_backend(2, 0);
  const VerifyResult result = verify_folder(folder, *backend, {.chunk = 7});
  EXPECT_TRUE(result.ok()) << result.decode_ids_equal << " of " << result.decode_ids;
}

INSTANTIATE_TEST_SUITE_P(Generic, SameModel, testing::Values("llama-3.2-tiny", "mamba2-tiny"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::erase_if(name, [](char c) { return !std::isalnum(c); });
                           return name;
                         });

TEST(Generic, EveryBlockIsThere) {
  const ModelSpec spec = load_spec(generic_folder("every-block").string());
  std::set<size_t> kinds;
  for (const LayerSpec& layer : spec.layers)
    for (const Sublayer& sublayer : layer.sublayers)
      for (const Block& block : sublayer.parallel) kinds.insert(block.index());
  // All but Hymba's heads on one projection.
  EXPECT_EQ(kinds.size(), std::variant_size_v<Block> - 1);
  ASSERT_EQ(spec.layers.size(), 9U);
  EXPECT_EQ(spec.layers[7].sublayers.size(), 2U) << "the pattern starts again after 6 layers";
  EXPECT_EQ(spec.layers[0].sublayers[0].residual_scale, 0.5);
  EXPECT_EQ(spec.layers[4].sublayers[0].residual_scale, 1.0);
  EXPECT_EQ(spec.layers[0].sublayers[0].norm.weight_offset, 1.0);
  const auto& local = std::get<AttentionBlock>(spec.layers[0].sublayers[0].parallel[0]);
  EXPECT_EQ(local.window, 9);
  EXPECT_EQ(local.sinks, 2);
  EXPECT_EQ(local.rope->rotary_dim, 4);
  EXPECT_EQ(local.scale, 0.3);
  const auto& latent = std::get<MoeBlock>(spec.layers[2].sublayers[1].parallel[0]);
  EXPECT_EQ(latent.expert_width, 16);
  EXPECT_NE(latent.choice_bias, no_weight);
}

// The program takes such a folder wherever it takes a model.
TEST(Generic, EveryCommandTakesOne) {
  const std::string folder = generic_folder("every-block").string();
  for (const char* dtype : {"f32", "bf16"}) {
    const Ran ran = tidemark("run " + folder +
                             " --context 40 --chunk 16 --batch 2 --new-tokens 4 "
                             "--budget 0.1 --json - --dtype " +
                             dtype);
    ASSERT_EQ(ran.code, 0) << ran.err;
    const auto record = Config::parse(ran.out).at("records").at(0);
    EXPECT_EQ(record.at("memory").at("predicted"), record.at("memory").at("high_water"));
  }
  for (const std::string& command :
       {"show " + folder, "explain " + folder + " --context 64",
        "predict " + folder + " --on h200 --context 64,1k", "limit " + folder + " --memory 64MiB",
        "limit " + folder + " --on orin-nano-8gb",
        "whatif " + folder + " --on h200 --context 1k --scale bandwidth=2x"}) {
    const Ran ran = tidemark(command);
    EXPECT_EQ(ran.code, 0) << command << ": " << ran.err;
    EXPECT_NE(ran.out, "") << command;
  }
}

TEST(Generic, WhatIsRefusedIsNamed) {
  const Config good = generic_config("every-block");
  const struct {
    const char* pointer;
    Config value;
    const char* error;
  } cases[] = {
      {"/hidden_sizes", 4,
       "config.json: expected keys among model_type, description, vocab_size, hidden_size, "
       "tie_word_embeddings, norm, embedding_multiplier, residual_multiplier, logits_multiplier, "
       "logits_soft_cap, blocks, layers, pattern, num_hidden_layers, names, found 'hidden_sizes'"},
      {"/blocks/mlp/widht", 4,
       "config.json: key 'blocks.mlp': expected keys among type, width, act, gated, bias, found "
       "'widht'"},
      {"/blocks/mlp/width", 0,
       "config.json: key 'blocks.mlp.width': expected an integer from 1 to 16777216, found 0"},
      {"/blocks/mlp/type", "mpl",
       "config.json: key 'blocks.mlp.type': expected one of attention, mlp, moe, mamba1, mamba2, "
       "gated_delta, rg_lru, short_conv, found a string 'mpl'"},
      {"/blocks/global/head_dim", nullptr,
       "config.json: key 'blocks.global.head_dim': expected an integer from 1 to 8192, found null"},
      {"/blocks/local/kv_heads", 4,
       "config.json: key 'blocks.local': key 'kv_heads': expected a divisor of heads 6, found 4"},
      {"/blocks/local/window", 0,
       "config.json: key 'blocks.local.sinks': expected 0, as there is no window, found 2"},
      {"/blocks/ssd/groups", 4,
       "config.json: key 'blocks.ssd': key 'groups': expected a divisor of heads 6, found 4"},
      {"/blocks/latent/top_k", 5,
       "config.json: key 'blocks.latent.top_k': expected at most the experts of top_groups groups, "
       "found 5"},
      {"/layers/hybrid/1", "mpl",
       "config.json: key 'layers.hybrid[1]': expected one of the blocks bare, conv, delta, "
       "experts, "
       "global, latent, local, lru, mlp, plain, scan, ssd, found a string 'mpl'"},
      {"/layers/hybrid/1", "local",
       "config.json: key 'layers.hybrid[1]': expected a block that its layer does not have yet, as "
       "weights go by it, found a string 'local'"},
      {"/layers/hybrid/1", "global",
       "config.json: key 'layers.hybrid[1]': expected a layer with at most one attention and one "
       "recurrent or convolution block (begin another layer), found a string 'global'"},
      {"/layers/hybrid/1", Config::array(),
       "config.json: key 'layers.hybrid[1]': expected at least one block, found an array of 0"},
      {"/layers/hybrid", Config::array(),
       "config.json: key 'layers.hybrid': expected at least one sublayer, found an array of 0"},
      {"/pattern/0", "hybird",
       "config.json: key 'pattern[0]': expected one of the layers bare, conv, delta, hybrid, lru, "
       "scan, found a string 'hybird'"},
      {"/pattern", Config::array(),
       "config.json: key 'pattern': expected at least one layer, found an array of 0"},
      {"/norm/type", "batch",
       "config.json: key 'norm.type': expected rms or layer, found a string 'batch'"},
      {"/norm/type", "layer",
       "config.json: key 'norm.around_one': expected false, as the norm's type is layer, found "
       "true"},
      {"/names",
       {{"layers", "a\nb"}},
       "config.json: key 'names.layers': expected a printable name, found a string 'a\\x0ab'"},
  };
  for (const auto& c : cases) {
    Config config = good;
    config[Config::json_pointer(c.pointer)] = c.value;
    EXPECT_EQ(error_of(config), c.error) << c.pointer;
  }
}

// One layer of the state-space block without a convolution and with B and C normalised, against
// the recurrence written down here: h = exp(d A) h + d x B^T; y = (C h + D x) silu(z).
TEST(Generic, StateSpaceBlockWithoutConvolution) {
  const int64_t hidden = 6, heads = 2, head_dim = 4, n = 5, inner = heads * head_dim, length = 7;
  const ModelSpec spec = spec_of({{"model_type", "tidemark_generic"},
                                  {"vocab_size", 11},
                                  {"hidden_size", hidden},
                                  {"norm", {{"eps", 1e-3}}},
                                  {"blocks",
                                   {{"m",
                                     {{"type", "mamba2"},
                                      {"heads", heads},
                                      {"head_dim", head_dim},
                                      {"state", n},
                                      {"conv_width", 0},
                                      {"chunk", 3},
                                      {"param_norms", true},
                                      {"gated_norm", false}}}}},
                                  {"layers", {{"a", {"m"}}}},
                                  {"pattern", {"a"}}});
  const Plan plan = build_plan(spec, {.context = length, .chunk = length});
  reference::Memory<double> memory(plan);
  const auto source = synthetic_weights(spec, 3);
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const Tensor& tensor = plan.tensors[i];
    if (tensor.tag != Tag::weights) continue;
    std::vector<float> values(static_cast<size_t>(tensor.rows * tensor.cols));
    source->fill(tensor.weight, 0, tensor.rows, DType::f32,
                 std::as_writable_bytes(std::span(values)));
    memory.tensors[i].assign(values.begin(), values.end());
  }
  for (int32_t t = 0; t < length; ++t) memory.ids[static_cast<size_t>(t)] = (3 * t + 1) % 11;
  const Step& step = plan.step(StepKind::tail);
  for (const Node& node : step.nodes) reference::run_op(node.op, memory);

  const auto weight = [&](const std::string& name) -> const std::vector<double>& {
    for (size_t i = 0; i < plan.tensors.size(); ++i)
      if (plan.tensors[i].name == name) return memory.tensors[i];
    throw Error("no tensor " + name);
  };
  const auto rms = [](std::vector<double> v, const std::vector<double>& w) {
    double squares = 0;
    for (const double x : v) squares += x * x;
    for (size_t i = 0; i < v.size(); ++i)
      v[i] *= w[i] / std::sqrt(squares / static_cast<double>(v.size()) + 1e-3);
    return v;
  };
  const std::string layer = "model.layers.0.", m = layer + "m.";
  std::vector<double> state(static_cast<size_t>(inner * n));
  for (int64_t t = 0; t < length; ++t) {
    const std::vector<double>& table = weight("model.embed_tokens.weight");
    const int64_t id = (3 * t + 1) % 11;
    const std::vector<double> residual(table.begin() + id * hidden,
                                       table.begin() + (id + 1) * hidden);
    const std::vector<double> in = rms(residual, weight(layer + "norm0.weight"));
    std::vector<double> p;  // z, x, B, C, dt
    for (int64_t r = 0; r < 2 * inner + 2 * n + heads; ++r) {
      double sum = 0;
      for (int64_t k = 0; k < hidden; ++k)
        sum += weight(m + "in_proj.weight")[static_cast<size_t>(r * hidden + k)] *
               in[static_cast<size_t>(k)];
      p.push_back(sum);
    }
    const auto part = [&](int64_t from, int64_t count) {
      return std::vector<double>(p.begin() + from, p.begin() + from + count);
    };
    const auto b = rms(part(2 * inner, n), weight(m + "B_norm.weight"));
    const auto c = rms(part(2 * inner + n, n), weight(m + "C_norm.weight"));
    std::vector<double> y;
    for (int64_t i = 0; i < inner; ++i) {
      const auto head = static_cast<size_t>(i / head_dim);
      const double dt = p[static_cast<size_t>(2 * inner + 2 * n) + head];
      const double d = std::log1p(std::exp(dt + weight(m + "dt_bias")[head]));
      const double decay = std::exp(-d * std::exp(weight(m + "A_log")[head]));
      const double x = p[static_cast<size_t>(inner + i)], z = p[static_cast<size_t>(i)];
      double sum = weight(m + "D")[head] * x;
      for (int64_t j = 0; j < n; ++j) {
        double& h = state[static_cast<size_t>(i * n + j)];
        h = decay * h + d * x * b[static_cast<size_t>(j)];
        sum += h * c[static_cast<size_t>(j)];
      }
      y.push_back(sum * z / (1 + std::exp(-z)));
    }
    for (int64_t k = 0; k < hidden; ++k) {
      double sum = residual[static_cast<size_t>(k)];
      for (int64_t i = 0; i < inner; ++i)
        sum += weight(m + "out_proj.weight")[static_cast<size_t>(k * inner + i)] *
               y[static_cast<size_t>(i)];
      EXPECT_NEAR(
          memory.tensors[static_cast<size_t>(step.residual)][static_cast<size_t>(t * hidden + k)],
          sum, 1e-9)
          << "position " << t;
    }
  }
}

// The config in docs/prediction.md is the model that the text around it says, and is predicted.
TEST(Generic, DocumentedExampleIsPredicted) {
  const std::string text = read_text(TIDEMARK_SOURCE "/docs/prediction.md");
  const size_t fence = text.find("```json\n{\n  \"model_type\": \"tidemark_generic\"");
  ASSERT_NE(fence, std::string::npos);
  const size_t begin = text.find('{', fence), end = text.find("```", begin);
  const fs::path folder = fs::path(testing::TempDir()) / "mamba3-like";
  fs::create_directories(folder);
  write_text(folder / "config.json", text.substr(begin, end - begin));
  const ModelSpec spec = load_spec(folder.string());
  EXPECT_EQ(spec.layers.size(), 24U);
  EXPECT_NEAR(static_cast<double>(parameter_count(spec)), 1.49e9, 0.005e9);
  const Ran ran =
      tidemark("predict " + folder.string() + " --on h200 --context 1k,64k --chunk whole --json -");
  ASSERT_EQ(ran.code, 0) << ran.err;
  const auto records = Config::parse(ran.out).at("records");
  ASSERT_EQ(records.size(), 2U);
  for (const auto& record : records) {
    const auto& memory = record.at("memory").at("predicted");
    EXPECT_EQ(memory.at("ssm_state"), 24 * 64 * 64 * 128 * 4);
    EXPECT_EQ(memory.value("conv_state", 0), 0);
    EXPECT_EQ(memory.value("kv_cache", 0), 0);
  }
}

}  // namespace
}  // namespace tidemark
