#include "app/calibrate.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "app/measure_model.h"
#include "app/session.h"
#include "base/error.h"
#include "base/json.h"
#include "cost/predict.h"
#include "model/families/families.h"

namespace tidemark {
namespace {

// One model of a grid of shapes: attention of 64-wide heads over GEMMs of many widths, and both
// kinds of scan. Deep enough that the weights of a layer are not in the cache when they are read.
struct GridModel {
  std::string name, config;
};

std::string llama(int64_t hidden, int64_t layers, int64_t kv_share, int64_t width, int64_t vocab) {
  return fmt::format(
      R"({{"model_type": "llama", "hidden_size": {}, "num_hidden_layers": {}, )"
      R"("num_attention_heads": {}, "num_key_value_heads": {}, "intermediate_size": {}, )"
      R"("vocab_size": {}, "tie_word_embeddings": true, "rms_norm_eps": 1e-5}})",
      hidden, layers, hidden / 64, hidden / 64 / kv_share, width, vocab);
}

std::string mamba(int64_t hidden, int64_t layers, bool second) {
  return fmt::format(
      R"({{"d_model": {}, "n_layer": {}, "vocab_size": 16384, "ssm_cfg": {}, "rms_norm": true, )"
      R"("residual_in_fp32": true, "fused_add_norm": true}})",
      hidden, layers, second ? R"({"layer": "Mamba2"})" : "{}");
}

std::vector<GridModel> grid_models() {
  return {{"attention-512", llama(512, 6, 4, 2048, 16384)},
          {"attention-1024", llama(1024, 4, 4, 4096, 32768)},
          {"attention-1536", llama(1536, 3, 1, 6144, 49152)},
          {"attention-2048", llama(2048, 2, 8, 8192, 65536)},
          {"mamba-768", mamba(768, 6, false)},
          {"mamba-1536", mamba(1536, 4, false)},
          {"mamba2-768", mamba(768, 6, true)},
          {"mamba2-1536", mamba(1536, 4, true)}};
}

struct GridPoint {
  int64_t context, chunk;
  DType dtype;
};

std::vector<GridPoint> grid_points(bool cpu) {
  if (cpu)
    return {{64, 64, DType::bf16},
            {256, 256, DType::bf16},
            {512, 512, DType::bf16},
            {2048, 512, DType::bf16},
            {512, 512, DType::f32}};
  return {{128, 128, DType::bf16},   {512, 512, DType::bf16},    {2048, 512, DType::bf16},
          {2048, 2048, DType::bf16}, {8192, 512, DType::bf16},   {8192, 8192, DType::bf16},
          {32768, 512, DType::bf16}, {32768, 2048, DType::bf16}, {2048, 512, DType::f32}};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

// One sample per distinct kernel of a phase: the mean work of its calls and the median of their
// mean times over the layers, which do the same. Left out of a fit, it leaves no twin behind.
void add_samples(const Plan& plan, const OperatorProfile& profile, Phase phase,
                 std::vector<KernelSample>& samples) {
  std::vector<Work> sums(profile.rows.size());
  const auto add_step = [&](Step step, int64_t past) {
    set_past(step, past);
    for (size_t i = 0; i < step.nodes.size(); ++i) sums[i] += work(step.nodes[i].op, plan);
  };
  if (phase == Phase::prefill) {
    for (int64_t i = 0; i < plan.body_count; ++i)
      add_step(plan.step(StepKind::body), i * plan.workload.chunk);
    add_step(plan.step(StepKind::tail), plan.body_count * plan.workload.chunk);
  } else {
    add_step(plan.step(StepKind::decode), plan.prompt());
  }
  std::map<std::tuple<std::string, double, double>, std::pair<Work, std::vector<double>>> distinct;
  for (size_t i = 0; i < profile.rows.size(); ++i) {
    const OperatorRow& row = profile.rows[i];
    if (!(row.time_s > 0)) continue;
    const auto calls = static_cast<double>(row.calls);
    auto& [work, times] = distinct[{row.op, sums[i].ops(), sums[i].bytes()}];
    work = sums[i] * (1 / calls);
    times.push_back(row.time_s / calls);
  }
  for (const auto& [key, kernel] : distinct)
    samples.push_back({kernel.first, median(kernel.second)});
}

struct MeasuredCell {
  Plan plan;
  Record record;
};

// Between two clock readings a short operator looks longer than it is in a pass without them:
// launch_s is moved so that whole decode steps, of nothing but short operators, come out right.
void settle_launch(DeviceProfile& profile, const std::vector<MeasuredCell>& cells) {
  std::vector<double> missing;
  for (const MeasuredCell& cell : cells) {
    if (!cell.record.metrics.tpot_s) continue;
    const Record p = predict(cell.plan, profile, {});
    const auto operators = static_cast<double>(cell.plan.step(StepKind::decode).nodes.size());
    missing.push_back((cell.record.metrics.tpot_s->median - p.metrics.tpot_s->median) / operators);
  }
  const double least = profile.launch_s.value / 10;
  profile.launch_s.value = std::max(least, profile.launch_s.value + median(missing));
  profile.launch_s.source += ", moved so that whole decode steps agree";
}

}  // namespace

Calibration calibrate(const CalibrationOptions& options) {
  const BackendInfo info = open_backend(options.device, options.threads, 0)->info();
  const bool cpu = options.device == "cpu";
  std::vector<KernelSample> samples;
  std::vector<MeasuredCell> cells;
  for (const GridModel& grid : grid_models()) {
    Model model;
    model.spec = make_spec(Json::parse(grid.config, grid.name));
    model.spec.name = grid.name;
    model.weights = synthetic_weights(model.spec, 0);
    for (const GridPoint& point : grid_points(cpu)) {
      if (options.progress)
        options.progress(fmt::format("{}, {} tokens in chunks of {}, {}", grid.name, point.context,
                                     point.chunk, name(point.dtype)));
      MeasureRequest request;
      request.cell = {.model = grid.name,
                      .device = options.device,
                      .dtype = point.dtype,
                      .context = point.context,
                      .new_tokens = 9,
                      .chunk = point.chunk,
                      .threads = options.threads};
      request.options.stopping.time_budget_s = options.budget_s;
      request.options.profile_budget_s = options.budget_s / 2;
      Record record = measure_model(model, request);
      if (record.outcome != Outcome::ok) continue;  // it does not fit
      Plan plan = build_plan(
          model.spec,
          {.context = point.context, .new_tokens = 9, .chunk = point.chunk, .dtype = point.dtype});
      if (record.prefill) add_samples(plan, *record.prefill, Phase::prefill, samples);
      if (record.decode) add_samples(plan, *record.decode, Phase::decode, samples);
      cells.push_back({std::move(plan), std::move(record)});
    }
  }
  // Curves are fitted over all bytes alike; what is typical of the kind fills in what has no
  // sample.
  Calibration result{.profile = load_profile(cpu ? "epyc-9654" : "h200"),
                     .prefill_ratios = {},
                     .decode_ratios = {},
                     .samples = samples.size()};
  DeviceProfile& profile = result.profile;
  profile.name = info.name;
  profile.title = fmt::format("{}, {}, {} thread{}", info.name, info.isa, info.threads,
                              info.threads == 1 ? "" : "s");
  profile.origin = Origin::calibrated;
  profile.matrix_ops_per_s.clear();
  profile.memory_bytes = {static_cast<double>(info.memory_bytes), "the system"};
  profile.shared_memory = cpu;
  profile.cache_bytes.reset();
  profile.cache_bandwidth_bytes_per_s.reset();
  profile.multiprocessors.reset();
  profile.board_w.reset();
  fit_profile(profile, samples);
  settle_launch(profile, cells);
  for (const MeasuredCell& cell : cells) {
    const Record p = predict(cell.plan, profile, {});
    const Metrics& m = cell.record.metrics;
    if (m.ttft_s) result.prefill_ratios.push_back(p.metrics.ttft_s->median / m.ttft_s->median);
    if (m.tpot_s) result.decode_ratios.push_back(p.metrics.tpot_s->median / m.tpot_s->median);
  }
  return result;
}

}  // namespace tidemark
