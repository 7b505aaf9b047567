#include "backend/executor.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/bf16.h"
#include "base/error.h"

namespace tidemark {

Executor::Executor(Plan plan, Backend& backend) : plan_(std::move(plan)), backend_(backend) {
  if (!backend.supports(plan_.workload.dtype))
    fail("dtype: {} has no {} kernels", backend.info().device, name(plan_.workload.dtype));
  if (plan_.workload.logits_dtype != DType::f32)
    fail("logits_dtype: {} computes f32 logits, found {}", backend.info().device,
         name(plan_.workload.logits_dtype));
  backend.choose_forms(plan_);
  layout_ = layout_on(backend, plan_);
  backend_.attach(plan_, layout_);
}

Executor::~Executor() {
  backend_.detach();
}

void Executor::fill_weights(const std::function<void(const Tensor&, std::span<std::byte>)>& fill) {
  std::vector<std::byte> staging;
  for (size_t i = 0; i < plan_.tensors.size(); ++i) {
    const Tensor& tensor = plan_.tensors[i];
    if (tensor.tag != Tag::weights) continue;
    staging.resize(static_cast<size_t>(size_bytes(tensor)));
    fill(tensor, staging);
    backend_.upload(static_cast<TensorId>(i), staging, 0);
  }
}

void Executor::set_prompt(std::span<const int32_t> ids) {
  const Workload& w = plan_.workload;
  if (static_cast<int64_t>(ids.size()) != w.batch * w.context)
    fail("prompt: expected {} x {} ids, found {}", w.batch, w.context, ids.size());
  std::vector<int32_t> row(static_cast<size_t>(plan_.prompt()));
  std::iota(row.begin(), row.begin() + plan_.meta_tokens, plan_.first_meta_id);
  for (int64_t b = 0; b < w.batch; ++b) {
    std::copy_n(ids.data() + b * w.context, w.context, row.data() + plan_.meta_tokens);
    backend_.upload(plan_.ids, std::as_bytes(std::span(row)),
                    b * ids_row() * static_cast<int64_t>(sizeof(int32_t)));
  }
}

void Executor::set_id(int64_t sequence, int64_t position, int32_t id) {
  const int64_t at = sequence * ids_row() + plan_.meta_tokens + position;
  backend_.upload(plan_.ids, std::as_bytes(std::span(&id, 1)),
                  at * static_cast<int64_t>(sizeof(int32_t)));
}

std::vector<int32_t> Executor::ids() const {
  const int64_t batch = plan_.workload.batch, kept = ids_row() - plan_.meta_tokens;
  std::vector<int32_t> ids(static_cast<size_t>(batch * kept));
  for (int64_t b = 0; b < batch; ++b)
    backend_.download(plan_.ids,
                      std::as_writable_bytes(std::span(ids).subspan(static_cast<size_t>(b * kept),
                                                                    static_cast<size_t>(kept))),
                      (b * ids_row() + plan_.meta_tokens) * static_cast<int64_t>(sizeof(int32_t)));
  return ids;
}

int64_t Executor::ids_row() const {
  return plan_.prompt() + plan_.workload.new_tokens;
}

std::vector<float> Executor::read(TensorId id) const {
  const Tensor& tensor = plan_.tensors[static_cast<size_t>(id)];
  std::vector<float> values(static_cast<size_t>(tensor.rows * tensor.cols));
  if (tensor.dtype == DType::f32) {
    backend_.download(id, std::as_writable_bytes(std::span(values)), 0);
    return values;
  }
  std::vector<Bf16> raw(values.size());
  backend_.download(id, std::as_writable_bytes(std::span(raw)), 0);
  for (size_t i = 0; i < raw.size(); ++i) values[i] = static_cast<float>(raw[i]);
  return values;
}

void Executor::prefill_step(int64_t i, NodeObserver* observer) {
  backend_.run_step(step_kind(plan_, Phase::prefill, i), step_past(plan_, Phase::prefill, i),
                    observer);
}

StepProfile Executor::profile_step(Phase phase, int64_t i, const std::function<double()>& now_s) {
  const StepKind kind = step_kind(plan_, phase, i);
  StepProfile profile{.nodes = std::vector<NodeTime>(plan_.step(kind).nodes.size())};
  backend_.profile_step(kind, step_past(plan_, phase, i), now_s, profile);
  return profile;
}

void Executor::prefill() {
  for (int64_t i = 0; i <= plan_.body_count; ++i) prefill_step(i);
  backend_.synchronize();
}

void Executor::queue_decode(int64_t past) {
  backend_.run_step(StepKind::decode, plan_.meta_tokens + past, nullptr);
}

void Executor::decode(int64_t past) {
  queue_decode(past);
  backend_.synchronize();
}

}  // namespace tidemark
