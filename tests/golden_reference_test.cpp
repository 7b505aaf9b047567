// Every recorded checkpoint, computed by the scalar references alone: what a plan says is right
// whatever backend runs it. Chunk lengths 1, 7, 16 and whole; the full pass, every hidden state and
// greedy decoding.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <span>

#include "model/load.h"
#include "model/safetensors.h"
#include "plan/longrope.h"
#include "plan/reference/reference.h"

namespace tidemark {
namespace {

using Values = std::vector<float>;

// A plan with its weights in plain memory, run step by step.
class ReferenceRun {
 public:
  ReferenceRun(const ModelSpec& spec, const WeightSource& weights, const Workload& workload)
      : plan_(build_plan(spec, workload)), memory_(plan_) {
    for (size_t i = 0; i < plan_.tensors.size(); ++i) {
      const Tensor& tensor = plan_.tensors[i];
      if (tensor.tag != Tag::weights) continue;
      Values values(static_cast<size_t>(tensor.rows * tensor.cols));
      weights.fill(tensor.weight, 0, tensor.rows, DType::f32,
                   std::as_writable_bytes(std::span(values)));
      memory_.tensors[i].assign(values.begin(), values.end());
    }
  }

  const Plan& plan() const { return plan_; }
  int64_t ids_row() const { return plan_.prompt() + plan_.workload.new_tokens; }

  void set_prompt(const std::vector<int32_t>& ids) {
    const Workload& w = plan_.workload;
    for (int64_t b = 0; b < w.batch; ++b) {
      for (int64_t i = 0; i < plan_.meta_tokens; ++i)
        id(b, i) = plan_.first_meta_id + static_cast<int32_t>(i);
      for (int64_t t = 0; t < w.context; ++t)
        id(b, plan_.meta_tokens + t) = ids[static_cast<size_t>(b * w.context + t)];
    }
  }
  int32_t& id(int64_t sequence, int64_t position) {
    return memory_.ids[static_cast<size_t>(sequence * ids_row() + position)];
  }

  // Runs a step; before the first node of every layer and after the final norm calls
  // look(state index, tensor).
  template <class Look>
  void run(StepKind kind, int64_t past, const Look& look) {
    Step step = plan_.step(kind);
    set_past(step, past);
    int32_t layer = -1;
    for (const Node& node : step.nodes) {
      if (node.layer > layer) look(static_cast<size_t>(layer = node.layer), step.residual);
      reference::run_op(node.op, memory_);
      if (node.role == Role::final_norm) look(static_cast<size_t>(layer + 1), step.final_hidden);
    }
  }
  void run(StepKind kind, int64_t past) {
    run(kind, past, [](size_t, TensorId) {});
  }

  const std::vector<double>& tensor(TensorId id) const {
    return memory_.tensors[static_cast<size_t>(id)];
  }

 private:
  Plan plan_;
  reference::Memory<double> memory_;
};

struct Golden {
  explicit Golden(const std::string& name)
      : folder(TIDEMARK_TEST_DATA "/golden/" + name),
        spec(load_spec(folder.string())),
        weights(checkpoint_weights(spec, folder)),
        file(folder / "golden.safetensors"),
        prompt(integers("input_ids")) {
    const std::vector<int64_t>& shape = file.at("input_ids").shape;
    workload.batch = shape[0];
    workload.context = shape[1];
  }
  Values floats(const std::string& name) const {
    const TensorView& view = file.at(name);
    Values values(static_cast<size_t>(view.elements()));
    read_elements(view, 0, 1.0F, values);
    return values;
  }
  std::vector<int32_t> integers(const std::string& name) const {
    const TensorView& view = file.at(name);
    std::vector<int32_t> values;
    for (int64_t i = 0; i < view.elements(); ++i) {
      int64_t value = 0;
      std::memcpy(&value, view.data.data() + i * 8, 8);
      values.push_back(static_cast<int32_t>(value));
    }
    return values;
  }
  // The recurrences that invert a triangle lose more in the recorded fp32.
  double tolerance() const { return spec.family == "qwen3_next" ? 5e-5 : 1e-5; }

  std::filesystem::path folder;
  ModelSpec spec;
  std::unique_ptr<WeightSource> weights;
  Checkpoint file;
  std::vector<int32_t> prompt;
  Workload workload;
};

double relative_error(const std::vector<double>& out, const Values& ref) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < ref.size(); ++i) {
    difference += (out[i] - ref[i]) * (out[i] - ref[i]);
    size += static_cast<double>(ref[i]) * ref[i];
  }
  return std::sqrt(difference / size);
}

// Copies the prompt's rows of a step's [B * L, width] into [B, T, width].
void place(const Plan& plan, int64_t past, int64_t length, int64_t width, const double* rows,
           std::vector<double>& out) {
  const Workload& w = plan.workload;
  for (int64_t b = 0; b < w.batch; ++b)
    for (int64_t t = 0; t < length; ++t) {
      const int64_t position = past + t - plan.meta_tokens;
      if (position < 0) continue;
      std::copy_n(rows + (b * length + t) * width, width,
                  out.data() + (b * w.context + position) * width);
    }
}

void check_full_pass(const Golden& golden, int64_t chunk) {
  Workload workload = golden.workload;
  workload.chunk = chunk;
  workload.logits = LogitsPolicy::all;
  ReferenceRun run(golden.spec, *golden.weights, workload);
  run.set_prompt(golden.prompt);
  const Plan& plan = run.plan();
  const size_t layers = golden.spec.layers.size();
  const int64_t width = golden.spec.hidden, vocab = golden.spec.vocab;
  const auto positions = static_cast<size_t>(workload.batch * workload.context);
  std::vector<std::vector<double>> hidden(layers + 1);
  for (auto& state : hidden) state.resize(positions * static_cast<size_t>(width));
  std::vector<double> logits(positions * static_cast<size_t>(vocab));
  for (int64_t i = 0; i <= plan.body_count; ++i) {
    const StepKind kind = i < plan.body_count ? StepKind::body : StepKind::tail;
    const int64_t past = i * plan.workload.chunk, length = plan.step(kind).length;
    run.run(kind, past, [&](size_t state, TensorId id) {
      place(plan, past, length, width, run.tensor(id).data(), hidden[state]);
    });
    place(plan, past, length, vocab,
          run.tensor(plan.step(kind).logits).data() + past * workload.batch * vocab, logits);
  }
  for (size_t i = 0; i <= layers; ++i)
    EXPECT_LE(relative_error(hidden[i], golden.floats("hidden_" + std::to_string(i))),
              golden.tolerance())
        << "hidden_" << i;
  EXPECT_LE(relative_error(logits, golden.floats("logits")), golden.tolerance()) << "logits";
}

// New tokens [first, last) of each sequence, with the cache.
void decode(const Golden& golden, const std::vector<int32_t>& ids, int64_t chunk, int64_t first,
            int64_t last, std::vector<double>& logits) {
  Workload workload = golden.workload;
  const int64_t batch = workload.batch, context = workload.context, vocab = golden.spec.vocab;
  const int64_t new_tokens = static_cast<int64_t>(ids.size()) / batch;
  workload.chunk = chunk;
  workload.context += first;
  workload.new_tokens = last - first;
  std::vector<int32_t> prompt;
  for (int64_t b = 0; b < batch; ++b) {
    const int32_t* asked = golden.prompt.data() + b * context;
    const int32_t* given = ids.data() + b * new_tokens;
    prompt.insert(prompt.end(), asked, asked + context);
    prompt.insert(prompt.end(), given, given + first);
  }
  ReferenceRun run(golden.spec, *golden.weights, workload);
  run.set_prompt(prompt);
  const Plan& plan = run.plan();
  for (int64_t i = 0; i < plan.body_count; ++i) run.run(StepKind::body, i * plan.workload.chunk);
  for (int64_t i = 0; i < workload.new_tokens; ++i) {
    const StepKind kind = i == 0 ? StepKind::tail : StepKind::decode;
    run.run(kind, i == 0 ? plan.body_count * plan.workload.chunk : plan.prompt() + i - 1);
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t token = b * new_tokens + first + i;
      std::copy_n(run.tensor(plan.step(kind).logits).data() + b * vocab, vocab,
                  logits.data() + token * vocab);
      EXPECT_EQ(run.id(b, plan.prompt() + i), ids[static_cast<size_t>(token)])
          << "sequence " << b << ", token " << first + i;
    }
  }
}

void check_decode(const Golden& golden, int64_t chunk) {
  const std::vector<int32_t> ids = golden.integers("decode_ids");
  const Values expected = golden.floats("decode_logits");
  std::vector<double> logits(expected.size());
  const int64_t new_tokens = static_cast<int64_t>(ids.size()) / golden.workload.batch;
  const int64_t before =
      tokens_before_long_factors(golden.spec, golden.workload.context, new_tokens);
  decode(golden, ids, chunk, 0, before, logits);
  if (before < new_tokens) decode(golden, ids, chunk, before, new_tokens, logits);
  EXPECT_LE(relative_error(logits, expected), golden.tolerance()) << "decode_logits";
}

std::vector<std::string> golden_folders() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(TIDEMARK_TEST_DATA "/golden"))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

class GoldenReference : public testing::TestWithParam<std::string> {};

TEST_P(GoldenReference, EveryChunkLength) {
  const Golden golden(GetParam());
  for (const int64_t chunk : {int64_t{1}, int64_t{7}, int64_t{16}, int64_t{1} << 20}) {
    SCOPED_TRACE("chunk " + std::to_string(chunk));
    check_full_pass(golden, chunk);
    check_decode(golden, chunk);
  }
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, GoldenReference, testing::ValuesIn(golden_folders()),
                         test_name);

}  // namespace
}  // namespace tidemark
