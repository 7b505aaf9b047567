// Mixtures of experts against the definitions in transformers' modeling files, computed here expert
// by expert from the tensors of a checkpoint; and both ways a checkpoint may store experts.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <numeric>
#include <random>

#include "model/load.h"
#include "model/safetensors.h"
#include "plan/reference/reference.h"

namespace tidemark {
namespace {

using Vector = std::vector<double>;

struct StoredTensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
  int64_t cols() const { return shape.back(); }
};
using Tensors = std::map<std::string, StoredTensor>;

int64_t elements(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

// Random values for every tensor that the spec names, experts one by one.
Tensors draw_tensors(const ModelSpec& spec) {
  Tensors tensors;
  std::mt19937_64 random(7);
  std::normal_distribution<float> normal(0, 1);
  for (const Weight& weight : spec.weights) {
    const auto& parts = weight.other_parts.empty() ? weight.parts : weight.other_parts;
    for (const WeightPart& part : parts) {
      if (tensors.contains(part.names.front())) continue;
      StoredTensor tensor{part.file_shape, {}};
      const float scale = 1 / std::sqrt(static_cast<float>(tensor.cols()));
      for (int64_t i = 0; i < elements(part.file_shape); ++i)
        tensor.values.push_back(scale * normal(random));
      tensors[part.names.front()] = std::move(tensor);
    }
  }
  return tensors;
}

// The same checkpoint with all experts of a layer in one tensor.
Tensors fuse_experts(const ModelSpec& spec, const Tensors& one_by_one) {
  Tensors fused = one_by_one;
  for (const Weight& weight : spec.weights) {
    if (weight.other_parts.empty()) continue;
    StoredTensor all{weight.parts.front().file_shape, {}};
    for (const WeightPart& part : weight.other_parts) {
      const std::vector<float>& values = one_by_one.at(part.names.front()).values;
      all.values.insert(all.values.end(), values.begin(), values.end());
      fused.erase(part.names.front());
    }
    fused[weight.parts.front().names.front()] = std::move(all);
  }
  return fused;
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    path_ = std::filesystem::temp_directory_path() /
            ("tidemark-moe-" + std::to_string(std::random_device()()));
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }
  void write(const Tensors& tensors) const {
    std::vector<TensorToWrite> list;
    for (const auto& [name, tensor] : tensors)
      list.push_back({name, DType::f32, tensor.shape, std::as_bytes(std::span(tensor.values))});
    write("model.safetensors", encode_safetensors(list));
  }

 private:
  std::filesystem::path path_;
};

Vector times(const StoredTensor& matrix, const Vector& x) {
  Vector y(matrix.values.size() / x.size());
  for (size_t i = 0; i < y.size(); ++i)
    for (size_t j = 0; j < x.size(); ++j) y[i] += matrix.values[i * x.size() + j] * x[j];
  return y;
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

Vector gated_mlp(const StoredTensor& gate, const StoredTensor& up, const StoredTensor& down,
                 const Vector& x) {
  Vector g = times(gate, x);
  const Vector u = times(up, x);
  for (size_t i = 0; i < g.size(); ++i) g[i] *= sigmoid(g[i]) * u[i];
  return times(down, g);
}

Vector squared_relu_mlp(const StoredTensor& up, const StoredTensor& down, const Vector& x) {
  Vector u = times(up, x);
  for (double& v : u) v = v > 0 ? v * v : 0;
  return times(down, u);
}

Vector softmax(const Vector& logits) {
  Vector p = logits;
  for (double& v : p) v = std::exp(v);
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& v : p) v /= total;
  return p;
}

std::vector<size_t> best(const Vector& values, size_t count) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return values[a] > values[b]; });
  order.resize(count);
  return order;
}

void add(Vector& to, const Vector& x, double scale = 1) {
  for (size_t i = 0; i < x.size(); ++i) to[i] += scale * x[i];
}

// What the feed-forward sublayer of layer 0 adds to the stream, given its normalised input.
using Definition = std::function<Vector(const Tensors&, const Vector& x)>;

// Runs the model's references and compares, for every token of the prompt.
void expect_defined(const std::string& config, const Definition& definition) {
  const TemporaryFolder folder;
  folder.write("config.json", config);
  const ModelSpec spec = load_spec(folder.path().string());
  const Tensors tensors = draw_tensors(spec);
  for (const bool fused : {false, true}) {
    SCOPED_TRACE(fused ? "experts in one tensor" : "experts one by one");
    folder.write(fused ? fuse_experts(spec, tensors) : tensors);
    const auto weights = checkpoint_weights(spec, folder.path());
    const Plan plan = build_plan(spec, {.batch = 2, .context = 9, .chunk = 9});
    reference::Memory<double> memory(plan);
    for (size_t i = 0; i < plan.tensors.size(); ++i) {
      const Tensor& tensor = plan.tensors[i];
      if (tensor.tag != Tag::weights) continue;
      std::vector<float> values(static_cast<size_t>(tensor.rows * tensor.cols));
      weights->fill(tensor.weight, 0, tensor.rows, DType::f32,
                    std::as_writable_bytes(std::span(values)));
      memory.tensors[i].assign(values.begin(), values.end());
    }
    for (size_t i = 0; i < memory.ids.size(); ++i) memory.ids[i] = static_cast<int32_t>(3 * i % 29);

    const Step& step = plan.step(StepKind::tail);
    Vector before, x;
    for (const Node& node : step.nodes) {
      if (node.role == Role::select_last) break;
      reference::run_op(node.op, memory);
      if (node.role != Role::mlp_norm) continue;
      before = memory.tensors[static_cast<size_t>(step.residual)];
      x = memory.tensors[static_cast<size_t>(std::get<Norm>(node.op).out.tensor)];
    }
    const Vector& after = memory.tensors[static_cast<size_t>(step.residual)];
    ASSERT_FALSE(x.empty());
    const int64_t hidden = spec.hidden;
    for (int64_t row = 0; row < 18; ++row) {
      const Vector token(x.begin() + row * hidden, x.begin() + (row + 1) * hidden);
      const Vector expected = definition(tensors, token);
      for (int64_t i = 0; i < hidden; ++i) {
        const auto at = static_cast<size_t>(row * hidden + i);
        ASSERT_NEAR(after[at] - before[at], expected[static_cast<size_t>(i)], 1e-6)
            << "token " << row << ", column " << i;
      }
    }
  }
}

TEST(Moe, JambaTakesTheSoftmaxOverAllExperts) {
  expect_defined(
      R"({"model_type": "jamba", "vocab_size": 32, "hidden_size": 24, "intermediate_size": 20,
          "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
          "attn_layer_period": 1, "attn_layer_offset": 0, "expert_layer_period": 1,
          "expert_layer_offset": 0, "num_experts": 5, "num_experts_per_tok": 2})",
      [](const Tensors& t, const Vector& x) {
        const std::string moe = "model.layers.0.feed_forward.";
        const Vector p = softmax(times(t.at(moe + "router.weight"), x));
        Vector out(x.size());
        for (const size_t e : best(p, 2)) {
          const std::string expert = moe + "experts." + std::to_string(e) + ".";
          add(out,
              gated_mlp(t.at(expert + "gate_proj.weight"), t.at(expert + "up_proj.weight"),
                        t.at(expert + "down_proj.weight"), x),
              p[e]);
        }
        return out;
      });
}

TEST(Moe, GraniteTakesTheSoftmaxOfTheChosenAndASharedMlp) {
  expect_defined(
      R"({"model_type": "granitemoehybrid", "vocab_size": 32, "hidden_size": 24,
          "intermediate_size": 20, "shared_intermediate_size": 12, "num_hidden_layers": 1,
          "num_attention_heads": 2, "layer_types": ["attention"], "num_local_experts": 6,
          "num_experts_per_tok": 3, "residual_multiplier": 0.22, "mamba_n_heads": 4})",
      [](const Tensors& t, const Vector& x) {
        const std::string layer = "model.layers.0.", moe = layer + "block_sparse_moe.";
        const Vector logits = times(t.at(moe + "router.layer.weight"), x);
        const std::vector<size_t> chosen = best(logits, 3);
        Vector chosen_logits;
        for (const size_t e : chosen) chosen_logits.push_back(logits[e]);
        const Vector weight = softmax(chosen_logits);
        // Gate and up are the halves of one matrix.
        const auto halves_mlp = [&](const StoredTensor& both, const StoredTensor& down) {
          Vector h = times(both, x);
          const size_t width = h.size() / 2;
          for (size_t i = 0; i < width; ++i) h[i] *= sigmoid(h[i]) * h[width + i];
          h.resize(width);
          return times(down, h);
        };
        Vector out(x.size());
        for (size_t j = 0; j < chosen.size(); ++j) {
          const std::string expert = moe + "experts." + std::to_string(chosen[j]) + ".";
          add(out,
              halves_mlp(t.at(expert + "input_linear.weight"),
                         t.at(expert + "output_linear.weight")),
              0.22 * weight[j]);
        }
        add(out,
            halves_mlp(t.at(layer + "shared_mlp.input_linear.weight"),
                       t.at(layer + "shared_mlp.output_linear.weight")),
            0.22);
        return out;
      });
}

TEST(Moe, Qwen3NextNormalisesTheChosenAndGatesTheSharedExpert) {
  expect_defined(
      R"({"model_type": "qwen3_next", "vocab_size": 32, "hidden_size": 24, "num_hidden_layers": 1,
          "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
          "layer_types": ["full_attention"], "num_experts": 7, "num_experts_per_tok": 3,
          "moe_intermediate_size": 20, "shared_expert_intermediate_size": 12})",
      [](const Tensors& t, const Vector& x) {
        const std::string moe = "model.layers.0.mlp.";
        const Vector p = softmax(times(t.at(moe + "gate.weight"), x));
        const std::vector<size_t> chosen = best(p, 3);
        double total = 0;
        for (const size_t e : chosen) total += p[e];
        const auto mlp = [&](const std::string& prefix) {
          return gated_mlp(t.at(prefix + "gate_proj.weight"), t.at(prefix + "up_proj.weight"),
                           t.at(prefix + "down_proj.weight"), x);
        };
        Vector out(x.size());
        for (const size_t e : chosen)
          add(out, mlp(moe + "experts." + std::to_string(e) + "."), p[e] / total);
        add(out, mlp(moe + "shared_expert."),
            sigmoid(times(t.at(moe + "shared_expert_gate.weight"), x)[0]));
        return out;
      });
}

TEST(Moe, NemotronChoosesAmongGroupsByBiasedSigmoidsInALatentSpace) {
  expect_defined(
      R"({"model_type": "nemotron_h", "vocab_size": 32, "hidden_size": 24, "layers_block_type":
          ["moe"], "num_attention_heads": 2, "num_key_value_heads": 1, "mamba_num_heads": 8,
          "n_routed_experts": 8, "num_experts_per_tok": 3, "n_group": 4, "topk_group": 2,
          "moe_intermediate_size": 20, "moe_shared_expert_intermediate_size": 12,
          "moe_latent_size": 10, "routed_scaling_factor": 2.5})",
      [](const Tensors& t, const Vector& x) {
        const std::string moe = "backbone.layers.0.mixer.";
        Vector p = times(t.at(moe + "gate.weight"), x);
        for (double& v : p) v = sigmoid(v);
        Vector choice = p, groups(4);
        for (size_t e = 0; e < 8; ++e)
          choice[e] += t.at(moe + "gate.e_score_correction_bias").values[e];
        for (size_t g = 0; g < 4; ++g) groups[g] = choice[2 * g] + choice[2 * g + 1];
        const std::vector<size_t> kept = best(groups, 2);
        for (size_t e = 0; e < 8; ++e)
          if (std::find(kept.begin(), kept.end(), e / 2) == kept.end()) choice[e] = -1e9;
        const std::vector<size_t> chosen = best(choice, 3);
        double total = 0;
        for (const size_t e : chosen) total += p[e];
        const Vector latent = times(t.at(moe + "fc1_latent_proj.weight"), x);
        Vector sum(latent.size());
        for (const size_t e : chosen) {
          const std::string expert = moe + "experts." + std::to_string(e) + ".";
          add(sum,
              squared_relu_mlp(t.at(expert + "up_proj.weight"), t.at(expert + "down_proj.weight"),
                               latent),
              2.5 * p[e] / total);
        }
        Vector out = times(t.at(moe + "fc2_latent_proj.weight"), sum);
        add(out, squared_relu_mlp(t.at(moe + "shared_experts.up_proj.weight"),
                                  t.at(moe + "shared_experts.down_proj.weight"), x));
        return out;
      });
}

}  // namespace
}  // namespace tidemark
