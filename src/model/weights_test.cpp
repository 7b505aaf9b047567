#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/bf16.h"
#include "base/error.h"
#include "base/json.h"
#include "model/families/families.h"
#include "model/load.h"
#include "model/safetensors.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;

std::string golden(const std::string& name) {
  return TIDEMARK_TEST_DATA "/golden/" + name + "-tiny";
}

template <class Body>
std::string error_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::vector<float> floats(const WeightSource& source, const ModelSpec& spec, WeightId id,
                          int64_t row_begin = 0, int64_t rows = -1) {
  const Weight& weight = spec.weights.at(static_cast<size_t>(id));
  if (rows < 0) rows = weight.rows - row_begin;
  std::vector<float> out(static_cast<size_t>(rows * weight.cols));
  source.fill(id, row_begin, rows, DType::f32, std::as_writable_bytes(std::span(out)));
  return out;
}

std::vector<float> tensor(const Checkpoint& checkpoint, const std::string& name) {
  const TensorView& view = checkpoint.at(name);
  std::vector<float> out(static_cast<size_t>(view.elements()));
  std::memcpy(out.data(), view.data.data(), view.data.size());  // golden tensors are F32
  return out;
}

WeightId find_weight(const ModelSpec& spec, const std::string& name) {
  for (size_t i = 0; i < spec.weights.size(); ++i)
    if (spec.weights[i].name == name) return static_cast<WeightId>(i);
  ADD_FAILURE() << name;
  return no_weight;
}

TEST(CheckpointWeights, stack_parts_and_apply_their_scales) {
  const ModelSpec spec = load_spec(golden("falcon-h1"));
  const auto weights = checkpoint_weights(spec, golden("falcon-h1"));
  const Checkpoint file(golden("falcon-h1"));
  const std::string layer = "model.layers.1.";

  std::vector<float> expected = tensor(file, layer + "self_attn.q_proj.weight");
  for (float x : tensor(file, layer + "self_attn.k_proj.weight")) expected.push_back(0.39F * x);
  for (float x : tensor(file, layer + "self_attn.v_proj.weight")) expected.push_back(x);
  const WeightId qkv = find_weight(spec, layer + "self_attn.qkv_proj.weight");
  EXPECT_EQ(floats(*weights, spec, qkv), expected);
  // A slice across the border of q (64 rows) and k.
  const std::vector<float> slice(expected.begin() + 60 * 64, expected.begin() + 70 * 64);
  EXPECT_EQ(floats(*weights, spec, qkv, 60, 10), slice);

  // ssm_in 1.25 times the multiplier of the section z [96], x [96], B [32], C [32], dt [6].
  std::vector<float> in_proj = tensor(file, layer + "mamba.in_proj.weight");
  for (size_t i = 0; i < in_proj.size(); ++i) {
    const size_t row = i / 64;
    const double section = row < 96    ? 0.35
                           : row < 192 ? 0.25
                           : row < 224 ? 0.35
                           : row < 256 ? 0.5
                                       : 0.35;
    in_proj[i] *= static_cast<float>(1.25 * section);
  }
  EXPECT_EQ(floats(*weights, spec, find_weight(spec, layer + "mamba.in_proj.weight")), in_proj);
}

TEST(CheckpointWeights, round_to_bf16) {
  const ModelSpec spec = load_spec(golden("mamba"));
  const auto weights = checkpoint_weights(spec, golden("mamba"));
  const Weight& embedding = spec.weights[static_cast<size_t>(spec.embedding)];
  std::vector<Bf16> narrow(static_cast<size_t>(embedding.rows * embedding.cols));
  weights->fill(spec.embedding, 0, embedding.rows, DType::bf16,
                std::as_writable_bytes(std::span(narrow)));
  const std::vector<float> wide = tensor(Checkpoint(golden("mamba")), "backbone.embeddings.weight");
  for (size_t i = 0; i < wide.size(); ++i) EXPECT_EQ(narrow[i].bits, Bf16(wide[i]).bits);
  EXPECT_EQ(error_of([&] {
              weights->fill(spec.embedding, 0, 1, DType::f16,
                            std::as_writable_bytes(std::span(narrow)));
            }),
            "weight 'backbone.embeddings.weight': expected to be asked for f32 or bf16, not f16");
}

// A folder with the golden config and its tensors, changed by a test before it is written.
class ChangedCheckpoint : public testing::Test {
 protected:
  struct Stored {
    DType dtype;
    std::vector<int64_t> shape;
    std::string data;
    std::string stored_as = "";  // instead of dtype
  };
  void open(const std::string& name) {
    folder_ =
        fs::path(testing::TempDir()) /
        ("tidemark_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    fs::copy(golden(name) + "/config.json", folder_ / "config.json");
    const Checkpoint file(golden(name));
    for (const auto& [tensor, view] : file.tensors())
      tensors_[tensor] = {view.dtype.value(),
                          view.shape,
                          {reinterpret_cast<const char*>(view.data.data()), view.data.size()}};
  }
  void save() {
    std::vector<TensorToWrite> list;
    for (const auto& [name, stored] : tensors_)
      list.push_back({name, stored.dtype, stored.shape, std::as_bytes(std::span(stored.data)),
                      stored.stored_as});
    std::ofstream(folder_ / "model.safetensors", std::ios::binary) << encode_safetensors(list);
  }
  std::unique_ptr<WeightSource> load() {
    return checkpoint_weights(load_spec(folder_.string()), folder_);
  }
  std::string error() {
    save();
    return error_of([&] { load(); });
  }
  std::string file() const { return (folder_ / "model.safetensors").string(); }

  fs::path folder_;
  std::map<std::string, Stored> tensors_;
};

TEST_F(ChangedCheckpoint, unchanged_loads) {
  open("llama-3.2");
  EXPECT_EQ(error(), "no error");
}

TEST_F(ChangedCheckpoint, a_missing_tensor_is_named) {
  open("llama-3.2");
  tensors_.erase("model.layers.2.self_attn.k_proj.weight");
  EXPECT_EQ(error(), file() +
                         ": tensor 'model.layers.2.self_attn.k_proj.weight': missing; expected "
                         "with shape [32, 64]");
}

TEST_F(ChangedCheckpoint, every_spelling_of_a_missing_tensor_is_named) {
  open("mamba");
  const Stored table = tensors_.at("backbone.embeddings.weight");
  tensors_.erase("backbone.embeddings.weight");
  EXPECT_EQ(error(), file() +
                         ": tensor 'backbone.embeddings.weight' or "
                         "'backbone.embedding.weight': missing; expected with shape [128, 64]");
  tensors_["backbone.embedding.weight"] = table;
  EXPECT_EQ(error(), "no error");
}

TEST_F(ChangedCheckpoint, a_misshapen_tensor_is_named) {
  open("mamba2");
  tensors_.at("backbone.layers.0.mixer.conv1d.weight").shape = {192, 4, 1};
  EXPECT_EQ(error(), file() +
                         ": tensor 'backbone.layers.0.mixer.conv1d.weight': expected shape "
                         "[192, 1, 4], found [192, 4, 1]");
}

TEST_F(ChangedCheckpoint, an_integer_weight_is_refused) {
  open("qwen2.5");
  tensors_.at("model.norm.weight").dtype = DType::i32;
  EXPECT_EQ(error(),
            file() + ": tensor 'model.norm.weight': expected a floating-point dtype, found I32");
}

TEST_F(ChangedCheckpoint, what_is_no_finite_number_is_refused) {
  open("qwen2.5");
  const float infinite = -HUGE_VALF;
  std::memcpy(tensors_.at("model.layers.1.mlp.up_proj.weight").data.data() + 4 * 5000, &infinite,
              sizeof(infinite));
  save();
  const ModelSpec spec = load_spec(folder_.string());
  const auto weights = load();
  const auto fill_all = [&](DType dtype) {
    for (size_t id = 0; id < spec.weights.size(); ++id) {
      const Weight& weight = spec.weights[id];
      std::vector<std::byte> out(
          static_cast<size_t>(weight.rows * weight.cols * size_bytes(dtype)));
      weights->fill(static_cast<WeightId>(id), 0, weight.rows, dtype, out);
    }
  };
  for (const DType dtype : {DType::f32, DType::bf16})
    EXPECT_EQ(error_of([&] { fill_all(dtype); }),
              file() +
                  ": tensor 'model.layers.1.mlp.up_proj.weight': element 5000 is -inf, "
                  "expected a finite number");
}

TEST_F(ChangedCheckpoint, a_tensor_left_over_is_refused) {
  open("tinyllama");
  for (const char* name : {"model.layers.0.self_attn.q_norm.weight", "a", "b", "c", "d"})
    tensors_[name] = {DType::f32, {1}, std::string(4, '\0')};
  EXPECT_EQ(error(), file() +
                         ": expected only tensors of the llama model in config.json, found 5 "
                         "more: 'a', 'b', 'c', 'd', ...");
}

TEST_F(ChangedCheckpoint, rotary_buffers_and_a_tied_head_do_no_harm) {
  open("llama-3.2");
  tensors_["model.layers.0.self_attn.rotary_emb.inv_freq"] = {
      DType::f32, {8}, std::string(32, '\0')};
  tensors_["lm_head.weight"] = tensors_.at("model.embed_tokens.weight");
  EXPECT_EQ(error(), "no error");
  tensors_["lm_head.weight"].data[0] ^= 1;
  // One that differs is not tied, whatever the config says (transformers 5).
  EXPECT_EQ(error(), "no error");
  const ModelSpec spec = load_spec(folder_.string());
  ASSERT_NE(spec.lm_head, spec.embedding);
  const auto source = load();
  EXPECT_NE(floats(*source, spec, spec.lm_head, 0, 1), floats(*source, spec, spec.embedding, 0, 1));
}

// The meta tokens of a Hymba that has none.
TEST_F(ChangedCheckpoint, what_is_empty_does_no_harm) {
  open("llama-3.2");
  tensors_["model.memory_tokens"] = {DType::f32, {0, 64}, ""};
  EXPECT_EQ(error(), "no error");
}

TEST_F(ChangedCheckpoint, nemotron_h_is_read_under_either_prefix) {
  open("nemotron-moe");
  std::map<std::string, Stored> renamed;
  for (const auto& [name, stored] : tensors_)
    renamed[name.starts_with("backbone.") ? "model" + name.substr(8) : name] = stored;
  tensors_ = renamed;
  EXPECT_EQ(error(), "no error");
  tensors_["model.layers.2.mixer.q_proj.bias"] = {DType::f32, {64}, std::string(256, '\0')};
  EXPECT_EQ(error(), file() +
                         ": expected only tensors of the nemotron_h model in config.json, found 1 "
                         "more: 'model.layers.2.mixer.q_proj.bias'");
  tensors_.erase("model.layers.2.mixer.q_proj.bias");
  tensors_.erase("model.norm_f.weight");
  EXPECT_EQ(error(), file() +
                         ": tensor 'backbone.norm_f.weight' or 'model.norm_f.weight': missing; "
                         "expected with shape [64]");
}

TEST_F(ChangedCheckpoint, what_transformers_passes_over_does_no_harm) {
  const Stored one = {DType::f32, {1}, std::string(4, '\0')};
  for (const char* name : {"qwen3-next", "nemotron-h"}) {
    tensors_.clear();
    open(name);
    tensors_["mtp.layers.0.mlp.gate.weight"] = one;  // predicts the token after the next
    EXPECT_EQ(error(), "no error") << name;
  }
  tensors_.clear();
  open("gpt-neo");
  for (const std::string layer : {"0", "3"}) {
    const std::string attention = "transformer.h." + layer + ".attn.attention.";
    tensors_[attention + "bias"] = {DType::i32, {1, 1, 2, 2}, std::string(4, '\1'), "BOOL"};
    tensors_[attention + "masked_bias"] = {DType::f32, {}, std::string(4, '\0')};
  }
  EXPECT_EQ(error(), "no error");
  tensors_["mtp.layers.0.mlp.gate.weight"] = one;
  EXPECT_EQ(error(), file() +
                         ": expected only tensors of the gpt_neo model in config.json, found 1 "
                         "more: 'mtp.layers.0.mlp.gate.weight'");
}

TEST_F(ChangedCheckpoint, a_weight_of_a_type_not_computed_with_is_refused) {
  open("qwen2.5");
  Stored& norm = tensors_.at("model.norm.weight");
  norm = {DType::i32, norm.shape, std::string(norm.data.size() / 4, '\1'), "U8"};
  EXPECT_EQ(error(),
            file() + ": tensor 'model.norm.weight': expected a floating-point dtype, found U8");
}

TEST_F(ChangedCheckpoint, half_precision_files_load) {
  open("mamba");
  Stored& skip = tensors_.at("backbone.layers.0.mixer.D");
  std::string halves;
  for (size_t i = 0; i < 128; ++i) halves += std::string("\x00\x3e", 2);  // 1.5 in binary16
  skip = {DType::f16, {128}, halves};
  save();
  const ModelSpec spec = load_spec(folder_.string());
  for (float x : floats(*load(), spec, find_weight(spec, "backbone.layers.0.mixer.D")))
    EXPECT_EQ(x, 1.5F);
}

TEST(LoadSpec, says_what_it_looked_for) {
  EXPECT_TRUE(error_of([] { load_spec("gpt-5"); })
                  .starts_with("model 'gpt-5': expected a folder with config.json or one of the "
                               "presets bamba-9b, falcon-h1-0.5b, falcon-h1-1.5b"))
      << error_of([] { load_spec("gpt-5"); });
  EXPECT_EQ(error_of([] { load_spec("/tmp"); }),
            "/tmp: expected a config.json in the folder, found none");
  EXPECT_EQ(load_spec("Qwen2.5-0.5B").name, "qwen2.5-0.5b");
}

// An owner that publishes no preset is a folder that is not there.
TEST(LoadSpec, KnowsPresetsByTheirPublishedNames) {
  EXPECT_EQ(load_spec("phi-3-mini").name, "phi-3-mini-4k");
  EXPECT_EQ(load_spec("Qwen/Qwen2.5-0.5B").name, "qwen2.5-0.5b");
  EXPECT_EQ(load_spec("tiiuae/Falcon-H1-0.5B-Base").name, "falcon-h1-0.5b");
  for (const std::string folder : {"models/qwen2.5-0.5b", "./qwen2.5-0.5b", "Qwen/qwen2.5-9b"})
    EXPECT_TRUE(error_of([&] { load_spec(folder); }).starts_with("model '" + folder)) << folder;
}

struct Moments {
  double mean = 0, deviation = 0, least = 1e30, most = -1e30;
};
Moments moments(std::span<const float> values) {
  Moments m;
  const auto count = static_cast<double>(values.size());
  for (float x : values) {
    m.mean += x / count;
    m.least = std::min<double>(m.least, x);
    m.most = std::max<double>(m.most, x);
  }
  for (float x : values) m.deviation += (x - m.mean) * (x - m.mean) / count;
  m.deviation = std::sqrt(m.deviation);
  return m;
}

TEST(SyntheticWeights, depend_on_seed_name_and_index_alone) {
  const ModelSpec spec = load_spec("mamba2-130m");
  const auto first = synthetic_weights(spec, 1);
  const WeightId id = find_weight(spec, "backbone.layers.3.mixer.in_proj.weight");
  const int threads = omp_get_max_threads();
  const std::vector<float> whole = floats(*first, spec, id);
  omp_set_num_threads(3);
  EXPECT_EQ(floats(*first, spec, id), whole);
  omp_set_num_threads(threads);
  // By rows, backwards, across the borders of z, x, B, C and dt, from another source.
  const auto again = synthetic_weights(spec, 1);
  const int64_t rows = spec.weights[static_cast<size_t>(id)].rows;
  for (int64_t row = (rows - 1) / 100 * 100; row >= 0; row -= 100) {
    const int64_t count = std::min<int64_t>(100, rows - row);
    const std::vector<float> part = floats(*again, spec, id, row, count);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + row * 768)) << row;
  }
  EXPECT_NE(floats(*synthetic_weights(spec, 2), spec, id), whole);
  EXPECT_NE(floats(*first, spec, find_weight(spec, "backbone.layers.4.mixer.in_proj.weight")),
            whole);
  EXPECT_EQ(first->description(), "synthetic, seed 1");
}

TEST(SyntheticWeights, bf16_is_the_rounded_f32) {
  const ModelSpec spec = load_spec("mamba-130m");
  const auto weights = synthetic_weights(spec, 7);
  const WeightId id = find_weight(spec, "backbone.layers.0.mixer.x_proj.weight");
  const std::vector<float> wide = floats(*weights, spec, id);
  std::vector<Bf16> narrow(wide.size());
  weights->fill(id, 0, 80, DType::bf16, std::as_writable_bytes(std::span(narrow)));
  for (size_t i = 0; i < wide.size(); ++i) EXPECT_EQ(narrow[i].bits, Bf16(wide[i]).bits);
}

TEST(SyntheticWeights, have_realistic_scales) {
  const ModelSpec spec = load_spec("mamba2-370m");
  const auto weights = synthetic_weights(spec, 1);
  const auto of = [&](const std::string& name) {
    return moments(floats(*weights, spec, find_weight(spec, "backbone.layers.0." + name)));
  };
  const Moments linear = of("mixer.in_proj.weight");  // 1024 columns
  EXPECT_NEAR(linear.mean, 0, 1e-4);
  EXPECT_NEAR(linear.deviation, 1.0 / 32, 1e-4);
  const Moments norm = of("norm.weight");
  EXPECT_NEAR(norm.mean, 1, 0.02);
  EXPECT_NEAR(norm.deviation, 0.1, 0.02);
  const Moments a_log = of("mixer.A_log");
  EXPECT_GE(a_log.least, 0);
  EXPECT_LE(a_log.most, std::log(16.0));
  EXPECT_GT(a_log.deviation, 0.3);
  // softplus(dt_bias) lies in [1e-3, 1e-1].
  const Moments dt = of("mixer.dt_bias");
  EXPECT_GE(std::log1p(std::exp(dt.least)), 0.99e-3);
  EXPECT_LE(std::log1p(std::exp(dt.most)), 1.01e-1);
  EXPECT_GT(dt.deviation, 0.5);
  EXPECT_NEAR(of("mixer.D").mean, 1, 0.1);
}

TEST(SyntheticWeights, of_a_checkpoint_carry_the_multipliers_too) {
  const ModelSpec spec = load_spec("falcon-h1-0.5b");
  const auto weights = synthetic_weights(spec, 1);
  const WeightId qkv = find_weight(spec, "model.layers.0.self_attn.qkv_proj.weight");
  const Moments q = moments(floats(*weights, spec, qkv, 0, 512));
  const Moments k = moments(floats(*weights, spec, qkv, 512, 128));
  EXPECT_NEAR(k.deviation / q.deviation, 0.390625, 0.01);
}

}  // namespace
}  // namespace tidemark
