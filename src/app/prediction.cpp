#include "app/prediction.h"

#include <set>

#include "app/session.h"
#include "backend/cpu_plan.h"
#include "backend/cuda_plan.h"
#include "base/error.h"
#include "measure/provenance.h"
#include "plan/memory.h"

namespace tidemark {
namespace {

// A framework's kernels are counted, and their bytes, as they are in 16 bits.
std::string unknown_dtype(DType dtype) {
  if (dtype == DType::bf16) return "";
  return fmt::format("--dtype: unsupported: the engine model eager-full has no {} kernels",
                     name(dtype));
}

std::string unknown_kernels(const Plan& plan) {
  const std::string missing = missing_eager_kernels(plan);
  return missing.empty() ? "" : "--engine-model: unsupported: " + missing;
}

void fail_with(const std::string& unknown) {
  if (!unknown.empty()) fail("{}", unknown);
}

}  // namespace

std::string_view name(EngineModel engine) {
  return engine == EngineModel::own ? "own" : "eager-full";
}

EngineModel engine_option(const std::string& text) {
  for (const EngineModel engine : {EngineModel::own, EngineModel::eager_full})
    if (text == name(engine)) return engine;
  fail("--engine-model: expected own or eager-full, found '{}'", text);
}

std::string unknown_part(EngineModel engine, const ModelSpec& spec, DType dtype) {
  if (engine != EngineModel::eager_full) return "";
  const std::string unknown = unknown_dtype(dtype);
  return unknown.empty() ? unknown_kernels(build_plan(spec, {.context = 1})) : unknown;
}

void require_known(EngineModel engine, const ModelSpec& spec, DType dtype) {
  fail_with(unknown_part(engine, spec, dtype));
}

std::string missing_kernels(DeviceKind device, DType dtype) {
  if (device != DeviceKind::gpu || !has_int8_weights(dtype)) return "";
  return fmt::format("no GPU kernels in {} yet", name(dtype));
}

std::string priced_as_others(const Plan& plan, const DeviceProfile& profile) {
  const bool gpu = profile.kind == DeviceKind::gpu, f32 = plan.workload.dtype == DType::f32;
  std::set<std::string> found;
  const auto look = [&](const Node& node) {
    if (std::holds_alternative<RgLru>(node.op)) found.insert("RG-LRU as the selective scan");
    if (std::holds_alternative<GatedDelta>(node.op)) found.insert("gated delta rule as SSD");
    if (std::holds_alternative<ExpertGemm>(node.op)) found.insert("products of experts as others");
    if (!gpu) return;
    if (const auto* attention = std::get_if<Attention>(&node.op)) {
      if (attention->window > 0 && attention->window < plan.workload.context)
        found.insert("windowed attention as causal");
      if (f32) found.insert("fp32 attention as bf16");
    }
    const auto* ssd = std::get_if<Ssd>(&node.op);
    if (ssd && ssd->form == SsdForm::recurrence && ssd->length > 1)
      found.insert("recurrence over many tokens as steps");
  };
  for (const Step& step : plan.steps)
    for (const Node& node : step.nodes) look(node);
  // Whose launches were timed at one sequence.
  const bool timed = gpu && profile.origin == Origin::calibrated;
  if (timed && plan.workload.batch > 1 && plan.workload.new_tokens > 1)
    found.insert("decode of several sequences as the launches of one");
  return found.empty() ? "" : fmt::format("priced as other kernels: {}", fmt::join(found, ", "));
}

MemoryByTag predicted_memory(const ModelSpec& spec, const Plan& plan, EngineModel engine,
                             const DeviceProfile& profile) {
  if (engine == EngineModel::own) {
    if (profile.kind == DeviceKind::gpu) return layout_on_cuda(plan).size_bytes;
    static const std::unique_ptr<Backend> backend = open_backend("cpu", 0, 0);
    return memory_on(*backend, plan);
  }
  return eager_memory(plan, eager_options(spec), profile);
}

void choose_forms(Plan& plan, const DeviceProfile& profile) {
  if (profile.kind == DeviceKind::cpu) return choose_cpu_forms(plan);
  // Where a profile does not say how much a block may share: as much as on Hopper.
  choose_cuda_forms(plan, profile.block_shared_bytes
                              ? static_cast<int64_t>(profile.block_shared_bytes->value)
                              : 232448);
}

Record predict_record(const ModelSpec& spec, const DeviceProfile& profile, Workload workload,
                      const Prediction& prediction) {
  const bool eager = prediction.engine == EngineModel::eager_full;
  if (eager) {
    fail_with(unknown_dtype(workload.dtype));
    workload = eager_workload(workload);
  }
  Plan plan = build_plan(spec, workload);
  if (eager) fail_with(unknown_kernels(plan));
  PredictOptions options{.scales = prediction.scales};
  if (eager) options.launches = eager_launches(profile, eager_options(spec));
  const MemoryByTag memory = predicted_memory(spec, plan, prediction.engine, profile);
  if (!eager) choose_forms(plan, profile);
  Record record = predict(plan, profile, memory, options);
  record.cell.family = spec.family;
  if (const std::string missing = missing_kernels(profile.kind, workload.dtype); !missing.empty())
    record.flags.push_back(missing);
  if (const auto flag = positions_flag(spec, workload.context, workload.new_tokens))
    record.flags.push_back(*flag);
  if (const std::string others = priced_as_others(plan, profile); !eager && !others.empty())
    record.flags.push_back(others);
  if (eager) record.flags.push_back(fmt::format("engine model {}", name(prediction.engine)));
  const Provenance own = machine_provenance();
  record.provenance.version = own.version;
  record.provenance.commit = own.commit;
  record.provenance.dirty = own.dirty;
  record.provenance.date = own.date;
  return record;
}

}  // namespace tidemark
