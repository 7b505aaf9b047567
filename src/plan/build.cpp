// build_plan: the only place operators are made. One pass over the model per step kind.
#include <algorithm>

#include "base/error.h"
#include "plan/builder.h"

namespace tidemark {
namespace {

// No device comes near either. Within them bytes fit in 64 bits for every preset: a token takes up
// to a few MiB, most of it logits or the activations of a whole prefill, and a sequence up to a few
// hundred MiB of state. Operations do not, and are Counts.
constexpr int64_t most_tokens = int64_t{1} << 40;  // in all prompts; as many are generated
constexpr int64_t most_sequences = int64_t{1} << 20;

void check(const ModelSpec& spec, const Workload& w) {
  auto within = [](const char* key, int64_t value, int64_t most) {
    if (value < 1) fail("{}: expected at least 1, found {}", key, value);
    if (value > most) fail("{}: expected at most {}, found {}", key, most, value);
  };
  within("batch", w.batch, most_sequences);
  within("context", w.context, most_tokens);
  within("new_tokens", w.new_tokens, most_tokens);
  within("chunk", w.chunk, most_tokens);
  auto in_all = [&](const char* key, int64_t tokens) {
    if (tokens > most_tokens / w.batch)
      fail("{}: expected at most {} tokens in all sequences, found {} sequences of {}", key,
           most_tokens, w.batch, tokens);
  };
  in_all("context", spec.meta_tokens + w.context);
  in_all("new_tokens", w.new_tokens);
  if (!is_model_dtype(w.dtype)) fail("dtype: expected {}, found {}", model_dtypes, name(w.dtype));
  if (w.logits_dtype != DType::f32 && w.logits_dtype != DType::bf16)
    fail("logits_dtype: expected f32 or bf16, found {}", name(w.logits_dtype));
}

Role norm_role(const Sublayer& sublayer) {
  const Block& first = sublayer.parallel.front();
  if (std::holds_alternative<AttentionBlock>(first)) return Role::attn_norm;
  if (std::holds_alternative<MlpBlock>(first) || std::holds_alternative<MoeBlock>(first))
    return Role::mlp_norm;
  return Role::ssm_norm;
}

bool has_side(const ModelSpec& spec) {
  for (const LayerSpec& layer : spec.layers)
    for (const Sublayer& sublayer : layer.sublayers)
      if (sublayer.side) return true;
  return false;
}

void add_head(Builder& b, Operand residual, Operand ids) {
  const ModelSpec& spec = b.spec();
  const int64_t batch = b.batch(), width = spec.hidden;
  const bool all = b.workload().logits == LogitsPolicy::all && b.step().kind != StepKind::decode;

  b.begin_layer(-1);
  Operand x = residual;
  if (!all && b.length() > 1) {
    x = b.activation("last_hidden", batch, width);
    b.emit(
        SelectLast{.x = residual, .out = x, .batch = batch, .length = b.length(), .width = width},
        Role::select_last);
  }
  const int64_t rows = all ? b.rows() : batch;
  const Operand hidden = b.norm(spec.final_norm, x, rows, width, "final_hidden", Role::final_norm);
  b.step().final_hidden = hidden.tensor;

  const Operand logits =
      all ? b.persistent(Tag::logits, "logits", batch * (spec.meta_tokens + b.workload().context),
                         spec.vocab, b.workload().logits_dtype)
          : b.persistent(Tag::logits, "last_logits", batch, spec.vocab, b.workload().logits_dtype);
  b.step().logits = logits.tensor;
  const int64_t out_per_past = all ? batch * spec.vocab : 0;
  const auto [weight, scales, group] = b.projection(spec.lm_head);
  b.emit(Gemm{.x = hidden,
              .weight = weight,  // of a tied table with meta tokens the first rows
              .bias = {},
              .out = logits,
              .m = rows,
              .n = spec.vocab,
              .k = width,
              .scale = static_cast<float>(spec.logits_scale),
              .accumulate = false,
              .past = 0,
              .out_per_past = out_per_past,
              .scales = scales,
              .group = group,
              .int8_x = scales && b.int8_x()},
         Role::lm_head);
  if (spec.logits_cap > 0)
    b.emit(SoftCap{.x = logits,
                   .rows = rows,
                   .width = spec.vocab,
                   .cap = static_cast<float>(spec.logits_cap),
                   .past = 0,
                   .out_per_past = out_per_past},
           Role::logits_cap);

  if (b.step().kind == StepKind::body) return;  // the prompt goes on, nothing is sampled
  b.emit(Argmax{.logits = logits,
                .ids = ids,
                .batch = batch,
                .length = b.length(),
                .past = 0,
                .vocab = spec.vocab,
                .rows_per_sequence = all ? b.length() : 1,
                .rows_per_past = all ? batch : 0},
         Role::sample);
}

void add_step(Builder& b, StepKind kind, int64_t length, Operand ids) {
  const ModelSpec& spec = b.spec();
  b.begin_step(kind, length);
  const Operand residual = b.activation("residual", b.rows(), spec.hidden);
  b.step().residual = residual.tensor;
  // A table of its own is read a row per token: 8 bits would save little but accuracy.
  const auto [table, scales, group] = spec.embedding == spec.lm_head
                                          ? b.projection(spec.embedding)
                                          : Builder::Projection{b.weight(spec.embedding), {}, 0};
  b.emit(Embedding{.ids = ids,
                   .table = table,
                   .out = residual,
                   .batch = b.batch(),
                   .length = length,
                   .past = 0,
                   .width = spec.hidden,
                   .vocab = spec.vocab + spec.meta_tokens,
                   .scale = static_cast<float>(spec.embedding_scale),
                   .positions = b.weight(spec.positions),
                   .scales = scales,
                   .group = group},
         Role::embed);
  Operand both;
  if (has_side(spec)) {
    both = b.activation("stream_and_embedding", b.rows(), 2 * spec.hidden);
    b.emit(Add{.x = residual,
               .y = {},
               .out = columns_from(both, spec.hidden),
               .rows = b.rows(),
               .width = spec.hidden},
           Role::residual);
  }
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    b.begin_layer(static_cast<int32_t>(i));
    for (const Sublayer& sublayer : spec.layers[i].sublayers) {
      const Operand stream = sublayer.side ? lower(*sublayer.side, b, residual, both) : residual;
      const Operand x =
          b.norm(sublayer.norm, stream, b.rows(), spec.hidden, "normed", norm_role(sublayer));
      const Into into{residual, true, static_cast<float>(sublayer.residual_scale)};
      for (const Block& block : sublayer.parallel)
        std::visit([&](const auto& concrete) { lower(concrete, b, x, into); }, block);
    }
  }
  if (kind != StepKind::body || b.workload().logits == LogitsPolicy::all)
    add_head(b, residual, ids);
}

}  // namespace

std::string_view name(StepKind kind) {
  constexpr std::string_view names[] = {"body", "tail", "decode"};
  return names[static_cast<size_t>(kind)];
}

int64_t size_bytes(const Tensor& tensor) {
  return tensor.rows * tensor.cols * size_bytes(tensor.dtype);
}

int64_t max_context(const ModelSpec& spec, const Workload& w) {
  const int64_t most = most_tokens / std::max<int64_t>(w.batch, 1) - spec.meta_tokens;
  if (spec.positions == no_weight) return most;
  const int64_t learned = spec.weights[static_cast<size_t>(spec.positions)].rows;
  return std::min(most, learned - spec.meta_tokens - w.new_tokens + 1);
}

Plan build_plan(const ModelSpec& spec, const Workload& workload) {
  check(spec, workload);
  Plan plan;
  plan.workload = workload;
  plan.meta_tokens = spec.meta_tokens;
  plan.first_meta_id = static_cast<int32_t>(spec.vocab);
  const int64_t prompt = plan.prompt();
  // A chunk as long as the context is the whole prefill, meta tokens included.
  const int64_t chunk = plan.workload.chunk =
      workload.chunk >= workload.context ? prompt : workload.chunk;
  plan.model = spec.name;
  plan.body_count = (prompt - 1) / chunk;
  const int64_t tail = prompt - plan.body_count * chunk;

  Builder b(spec, plan);
  if (spec.positions != no_weight && workload.context > max_context(spec, workload))
    fail("context: {} has {} learned positions, found {} for the prompt and what is generated",
         spec.name, spec.weights[static_cast<size_t>(spec.positions)].rows, b.positions());
  const Operand ids = b.persistent(Tag::activation, "ids", workload.batch,
                                   prompt + workload.new_tokens, DType::i32);
  plan.ids = ids.tensor;
  if (plan.body_count > 0) add_step(b, StepKind::body, chunk, ids);
  add_step(b, StepKind::tail, tail, ids);
  if (workload.new_tokens > 1) add_step(b, StepKind::decode, 1, ids);

  set_past(plan.step(StepKind::tail), plan.body_count * chunk);
  set_past(plan.step(StepKind::decode), prompt);
  return plan;
}

Operand add_tensor(Plan& plan, Tensor tensor) {
  const int64_t cols = tensor.cols;
  plan.tensors.push_back(std::move(tensor));
  return {static_cast<TensorId>(plan.tensors.size() - 1), 0, cols};
}

void set_past(Step& step, int64_t past) {
  for (Node& node : step.nodes)
    std::visit(
        [past](auto& op) {
          if constexpr (requires { op.past; }) op.past = past;
        },
        node.op);
}

}  // namespace tidemark
