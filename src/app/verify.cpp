#include "app/verify.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "app/session.h"
#include "backend/executor.h"
#include "base/error.h"
#include "model/load.h"
#include "model/safetensors.h"
#include "plan/longrope.h"
#include "plan/plan.h"

namespace tidemark {
namespace {

// fp32 to rounding. Recordings of qwen3_next keep less: after a layer they can be twice as far from
// fp64 as what is computed here, in whatever chunks, and it grows from layer to layer.
double default_tolerance(DType dtype, const std::string& family, const std::string& device) {
  if (dtype == DType::w8a8) return 8e-2;
  if (dtype != DType::f32) return 3e-2;
  if (device != "cpu") return 1e-4;
  return family == "qwen3_next" ? 5e-5 : 1e-5;
}

std::vector<float> floats(const TensorView& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  read_elements(tensor, 0, 1.0F, values);
  return values;
}

// Token ids, sequence after sequence: [B, T].
std::vector<int32_t> token_ids(const Checkpoint& golden, const std::string& name, int64_t vocab) {
  const TensorView& tensor = golden.at(name);
  if (tensor.dtype != DType::i64)
    fail("tensor '{}': expected I64, found {}", name, tensor.stored_as);
  if (tensor.shape.size() != 2)
    fail("tensor '{}': expected shape [B, T], found {}", name, shape_text(tensor.shape));
  std::vector<int32_t> values;
  for (int64_t i = 0; i < tensor.elements(); ++i) {
    int64_t value = 0;
    std::copy_n(tensor.data.data() + i * 8, 8, reinterpret_cast<std::byte*>(&value));
    if (value < 0 || value >= vocab)
      fail("tensor '{}': expected ids from 0 to {}, found {}", name, vocab - 1, value);
    values.push_back(static_cast<int32_t>(value));
  }
  return values;
}

// Of as many elements as were computed.
std::vector<float> expected_floats(const Checkpoint& golden, const std::string& name,
                                   size_t elements) {
  return with_context(fmt::format("tensor '{}'", name), [&] {
    const TensorView& tensor = golden.at(name);
    if (tensor.elements() != static_cast<int64_t>(elements))
      fail("expected {} elements, found {}", elements, tensor.elements());
    return floats(tensor);
  });
}

double relative_error(std::span<const float> out, std::span<const float> ref) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < ref.size(); ++i) {
    const double d = static_cast<double>(out[i]) - ref[i];
    difference += d * d;
    size += static_cast<double>(ref[i]) * ref[i];
  }
  const double relative = std::sqrt(difference / size);
  return std::isfinite(relative) ? relative : std::numeric_limits<double>::infinity();
}

// Collects the residual stream entering each layer and what leaves the final norm, chunk by chunk,
// as [B, T, D].
class HiddenStates : public NodeObserver {
 public:
  HiddenStates(const Executor& executor, size_t layers, int64_t width)
      : executor_(executor), width_(width), states_(layers + 1) {
    const Workload& w = executor.plan().workload;
    for (auto& state : states_) state.resize(static_cast<size_t>(w.batch * w.context * width));
  }
  void begin_step(const Step& step, int64_t past) {
    step_ = &step;
    past_ = past;
    layer_ = -1;
  }
  void before(const Node& node, size_t) override {
    if (node.layer <= layer_) return;
    layer_ = node.layer;
    keep(step_->residual, static_cast<size_t>(layer_));
  }
  void after(const Node& node, size_t) override {
    if (node.role == Role::final_norm) keep(step_->final_hidden, states_.size() - 1);
  }
  std::span<const float> state(size_t i) const { return states_[i]; }

 private:
  void keep(TensorId id, size_t state) {
    executor_.backend().synchronize();
    const std::vector<float> rows = executor_.read(id);
    const Plan& plan = executor_.plan();
    const Workload& w = plan.workload;
    const int64_t skipped = std::clamp(plan.meta_tokens - past_, int64_t{0}, step_->length);
    const int64_t position = past_ + skipped - plan.meta_tokens;  // in the prompt
    for (int64_t b = 0; b < w.batch && skipped < step_->length; ++b)
      std::copy_n(rows.data() + (b * step_->length + skipped) * width_,
                  (step_->length - skipped) * width_,
                  states_[state].data() + (b * w.context + position) * width_);
  }
  const Executor& executor_;
  int64_t width_;
  std::vector<std::vector<float>> states_;
  const Step* step_ = nullptr;
  int64_t past_ = 0;
  int32_t layer_ = -1;
};

// Logits of all positions lie step after step; the reference has them sequence after sequence.
std::vector<float> logits_by_sequence(const Executor& executor, int64_t vocab) {
  const Plan& plan = executor.plan();
  const Workload& w = plan.workload;
  const std::vector<float> raw = executor.read(plan.step(StepKind::tail).logits);
  std::vector<float> ordered(static_cast<size_t>(w.batch * w.context * vocab));
  for (int64_t past = 0; past < plan.prompt(); past += w.chunk) {
    const int64_t length = std::min(w.chunk, plan.prompt() - past);
    const int64_t skipped = std::clamp(plan.meta_tokens - past, int64_t{0}, length);
    const int64_t position = past + skipped - plan.meta_tokens;
    for (int64_t b = 0; b < w.batch && skipped < length; ++b)
      std::copy_n(raw.data() + (past * w.batch + b * length + skipped) * vocab,
                  (length - skipped) * vocab, ordered.data() + (b * w.context + position) * vocab);
  }
  return ordered;
}

struct Reference {
  const Checkpoint& golden;
  const ModelSpec& spec;
  const WeightSource& weights;
  Workload workload;
  std::vector<int32_t> prompt;
};

void check_full_pass(const Reference& reference, Backend& backend, double tolerance,
                     double hidden_tolerance, VerifyResult& result) {
  const ModelSpec& spec = reference.spec;
  Workload workload = reference.workload;
  workload.logits = LogitsPolicy::all;
  Executor executor(build_plan(spec, workload), backend);
  fill_weights(executor, reference.weights);
  executor.set_prompt(reference.prompt);
  const Plan& plan = executor.plan();
  HiddenStates hidden(executor, spec.layers.size(), spec.hidden);
  for (int64_t i = 0; i <= plan.body_count; ++i) {
    hidden.begin_step(plan.step(i < plan.body_count ? StepKind::body : StepKind::tail),
                      i * plan.workload.chunk);
    executor.prefill_step(i, &hidden);
  }
  backend.synchronize();
  for (size_t i = 0; i <= spec.layers.size(); ++i) {
    const std::string tensor = fmt::format("hidden_{}", i);
    const std::vector<float> expected =
        expected_floats(reference.golden, tensor, hidden.state(i).size());
    result.tensors.push_back({tensor, relative_error(hidden.state(i), expected), hidden_tolerance});
  }
  const std::vector<float> logits = logits_by_sequence(executor, spec.vocab);
  const std::vector<float> expected = expected_floats(reference.golden, "logits", logits.size());
  result.tensors.push_back({"logits", relative_error(logits, expected), tolerance});
}

struct Decoding {
  std::vector<int32_t> ids;        // [B, new tokens], as recorded
  std::vector<int32_t> found_ids;  // the same, as computed
  std::vector<float> logits;       // [B, new tokens, V], as computed
};

// New tokens [first, last) of each sequence, with the cache. Every step is fed the recorded id, so
// that one broken near tie does not make the following logits incomparable.
void decode(const Reference& reference, Backend& backend, int64_t first, int64_t last,
            Decoding& out) {
  Workload workload = reference.workload;
  const int64_t batch = workload.batch, context = workload.context, vocab = reference.spec.vocab;
  const int64_t new_tokens = static_cast<int64_t>(out.ids.size()) / batch;
  workload.context += first;
  workload.new_tokens = last - first;
  std::vector<int32_t> prompt;
  for (int64_t b = 0; b < batch; ++b) {
    const int32_t* asked = reference.prompt.data() + b * context;
    const int32_t* given = out.ids.data() + b * new_tokens;
    prompt.insert(prompt.end(), asked, asked + context);
    prompt.insert(prompt.end(), given, given + first);
  }
  Executor executor(build_plan(reference.spec, workload), backend);
  fill_weights(executor, reference.weights);
  executor.set_prompt(prompt);

  for (int64_t i = first; i < last; ++i) {
    const int64_t position = context + i;
    if (i == first)
      executor.prefill();
    else
      executor.decode(position - 1);
    const StepKind kind = i == first ? StepKind::tail : StepKind::decode;
    const std::vector<float> step = executor.read(executor.plan().step(kind).logits);
    const std::vector<int32_t> found = executor.ids();
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t token = b * new_tokens + i;
      std::copy_n(step.data() + b * vocab, vocab, out.logits.data() + token * vocab);
      out.found_ids[static_cast<size_t>(token)] =
          found[static_cast<size_t>(b * (context + last) + position)];
      executor.set_id(b, position, out.ids[static_cast<size_t>(token)]);
    }
  }
}

void check_decode(const Reference& reference, Backend& backend, double tolerance,
                  VerifyResult& result) {
  const Workload& workload = reference.workload;
  const int64_t vocab = reference.spec.vocab;
  Decoding decoding;
  decoding.ids = token_ids(reference.golden, "decode_ids", vocab);
  const std::vector<int64_t>& shape = reference.golden.at("decode_ids").shape;
  if (shape[0] != workload.batch)
    fail("tensor 'decode_ids': expected shape [{}, T], found {}", workload.batch,
         shape_text(shape));
  const int64_t new_tokens = shape[1];
  const std::vector<float> expected = expected_floats(
      reference.golden, "decode_logits", decoding.ids.size() * static_cast<size_t>(vocab));
  decoding.found_ids.resize(decoding.ids.size());
  decoding.logits.resize(expected.size());
  const int64_t before = tokens_before_long_factors(reference.spec, workload.context, new_tokens);
  decode(reference, backend, 0, before, decoding);
  if (before < new_tokens) decode(reference, backend, before, new_tokens, decoding);

  result.decode_ids = static_cast<int64_t>(decoding.ids.size());
  for (size_t i = 0; i < decoding.ids.size(); ++i)
    result.decode_ids_equal += decoding.ids[i] == decoding.found_ids[i] ? 1 : 0;
  result.tensors.push_back({"decode_logits", relative_error(decoding.logits, expected), tolerance});
}

}  // namespace

bool VerifyResult::ok() const {
  return std::all_of(tensors.begin(), tensors.end(), [](const TensorError& t) { return t.ok(); }) &&
         (!decode_judged || decode_ids_equal == decode_ids);
}

VerifyResult verify_folder(const std::filesystem::path& folder, Backend& backend,
                           const VerifyOptions& options) {
  return with_context(folder.string(), [&] {
    const ModelSpec spec = load_spec(folder.string());
    const auto weights = checkpoint_weights(spec, folder);
    const Checkpoint golden(folder / "golden.safetensors");
    Reference reference{golden, spec, *weights, {}, token_ids(golden, "input_ids", spec.vocab)};
    const std::vector<int64_t>& shape = golden.at("input_ids").shape;
    reference.workload.batch = shape[0];
    reference.workload.context = shape[1];
    reference.workload.chunk = options.chunk > 0 ? options.chunk : shape[1];
    reference.workload.dtype = options.dtype;

    VerifyResult result;
    result.folder = folder;
    result.model_type = spec.family;
    const bool exact = options.dtype == DType::f32;
    result.decode_judged = exact;
    const double tolerance = options.tolerance > 0 ? options.tolerance
                                                   : default_tolerance(options.dtype, spec.family,
                                                                       backend.info().device);
    check_full_pass(reference, backend, tolerance, exact ? tolerance : 0, result);
    check_decode(reference, backend, tolerance, result);
    return result;
  });
}

}  // namespace tidemark
