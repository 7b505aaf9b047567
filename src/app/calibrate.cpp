#include "app/calibrate.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "app/measure_model.h"
#include "app/prediction.h"
#include "app/session.h"
#include "base/error.h"
#include "base/json.h"
#include "base/quantile.h"
#include "cost/predict.h"
#include "measure/operator_rows.h"
#include "model/families/families.h"

namespace tidemark {
namespace {

// Attention of 64-wide heads over GEMMs of many widths, and both kinds of scan. `deep` models have
// so many layers that no weight is in a cache when it is read again: their decode steps are what
// products of few rows are fitted to, and the shallow ones' is everything else.
struct GridModel {
  std::string name, config;
  bool deep = false;
};

std::string llama(int64_t hidden, int64_t layers, int64_t kv_share, int64_t width, int64_t vocab) {
  return fmt::format(
      R"({{"model_type": "llama", "hidden_size": {}, "num_hidden_layers": {}, )"
      R"("num_attention_heads": {}, "num_key_value_heads": {}, "intermediate_size": {}, )"
      R"("vocab_size": {}, "tie_word_embeddings": true, "rms_norm_eps": 1e-5}})",
      hidden, layers, hidden / 64, hidden / 64 / kv_share, width, vocab);
}

std::string mamba(int64_t hidden, int64_t layers) {
  return fmt::format(R"({{"d_model": {}, "n_layer": {}, "vocab_size": 16384, "ssm_cfg": {{}}}})",
                     hidden, layers);
}

std::string mamba2(int64_t hidden, int64_t layers, int64_t chunk) {
  return fmt::format(R"({{"d_model": {}, "n_layer": {}, "vocab_size": 16384, )"
                     R"("ssm_cfg": {{"layer": "Mamba2", "chunk_size": {}}}}})",
                     hidden, layers, chunk);
}

std::vector<GridModel> grid_models() {
  return {{"attention-512", llama(512, 3, 4, 2048, 16384)},
          {"attention-768", llama(768, 3, 6, 4096, 32768)},
          {"attention-1280", llama(1280, 2, 5, 5120, 49152)},
          {"attention-2048", llama(2048, 2, 4, 8192, 65536)},
          {"mamba-768", mamba(768, 3)},
          {"mamba-1280", mamba(1280, 2)},
          {"mamba-2048", mamba(2048, 2)},
          {"mamba2-768", mamba2(768, 3, 128)},
          {"mamba2-1024", mamba2(1024, 2, 64)},
          {"mamba2-1280", mamba2(1280, 2, 128)},
          {"attention-1024-deep", llama(1024, 16, 8, 4096, 65536), true},
          {"attention-2048-deep", llama(2048, 8, 4, 8192, 131072), true},
          {"mamba-1024-deep", mamba(1024, 40), true},
          {"mamba2-1024-deep", mamba2(1024, 40, 128), true}};
}

GridModel grid_model(const Cell& cell) {
  for (GridModel& model : grid_models())
    if (model.name == cell.model) return std::move(model);
  fail("calibration: no model '{}' in the grid", printable(cell.model));
}

ModelSpec spec_of(const GridModel& grid) {
  ModelSpec spec = make_spec(Json::parse(grid.config, grid.name));
  spec.name = grid.name;
  return spec;
}

struct GridPoint {
  int64_t context, chunk;
  DType dtype = DType::bf16;
};

std::vector<GridPoint> grid_points(const GridModel& model, bool cpu) {
  if (model.deep) return {{64, 64}};
  if (cpu)
    return {{64, 64}, {128, 128}, {256, 256}, {512, 512}, {2048, 512}, {256, 256, DType::f32}};
  return {{128, 128},  {512, 512},   {2048, 512},  {2048, 2048},
          {8192, 512}, {8192, 8192}, {32768, 512}, {2048, 512, DType::f32}};
}

// Of two readings of a clock and what they do to the operator between them.
constexpr double most_clock_s = 1e-6;

// With a clock around every operator each looks longer than in a pass without, by about the same:
// that much, at most `most_s`, is taken off. What then is still more than the pass is the machine's
// noise, and all give up the same share of it; so the operators add up to the pass.
std::vector<double> operator_times(const OperatorProfile& profile, double pass_s, double most_s) {
  std::vector<double> times;
  double sum = 0, calls = 0;
  for (const OperatorRow& row : profile.rows) {
    times.push_back(row.time_s);
    sum += row.time_s;
    calls += static_cast<double>(row.calls);
  }
  // What would become less than a tenth stays a tenth, and the others give up a little more.
  for (int round = 0; round < 20 && sum > 1.001 * pass_s; ++round) {
    const double excess_s = std::min((sum - pass_s) / calls, most_s);
    most_s -= excess_s;
    sum = 0;
    for (size_t i = 0; i < times.size(); ++i) {
      const auto n = static_cast<double>(profile.rows[i].calls);
      times[i] = std::max(times[i] - n * excess_s, profile.rows[i].time_s / 10);
      sum += times[i];
    }
  }
  if (sum > pass_s)
    for (double& time : times) time *= pass_s / sum;
  return times;
}

// One sample per distinct kernel of a phase: the mean work of its calls and the median of their
// mean times over the layers, which do the same. Left out of a fit, it leaves no twin behind.
std::vector<KernelSample> samples_of(const Plan& plan, const OperatorProfile& profile, Phase phase,
                                     double pass_s, bool cpu) {
  // A GPU's decode step is fewer and overlapping launches where no clock stands between operators.
  const bool fused = !cpu && phase == Phase::decode;
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
  const std::vector<double> row_times =
      operator_times(profile, pass_s, fused ? pass_s : most_clock_s);
  std::map<std::tuple<std::string, double, double>, std::pair<Work, std::vector<double>>> distinct;
  for (size_t i = 0; i < profile.rows.size(); ++i) {
    const OperatorRow& row = profile.rows[i];
    if (!(row.time_s > 0)) continue;
    const auto calls = static_cast<double>(row.calls);
    auto& [work, times] = distinct[{row.op, sums[i].ops(), sums[i].bytes()}];
    work = sums[i] * (1 / calls);
    times.push_back(row_times[i] / calls);
  }
  std::vector<KernelSample> samples;
  for (const auto& [key, kernel] : distinct)
    samples.push_back({kernel.first, median(kernel.second)});
  return samples;
}

// Which samples of a cell the fit takes.
bool wanted(const KernelSample& s, const GridModel& model, const Cell& cell, Phase phase) {
  if (model.deep) return phase == Phase::decode;
  const bool matrix = s.work.kind == KernelClass::gemm_f32;
  return cell.dtype == DType::f32 ? matrix : s.work.kind != KernelClass::gemv;
}

// In the forms that ran.
Plan plan_of(const Record& r) {
  Plan plan = build_plan(spec_of(grid_model(r.cell)), {.batch = r.cell.batch,
                                                       .context = r.cell.context,
                                                       .new_tokens = r.cell.new_tokens,
                                                       .chunk = r.cell.chunk,
                                                       .dtype = r.cell.dtype,
                                                       .logits = r.cell.logits});
  choose_forms(plan, typical_profile(r.cell.device == "cpu" ? DeviceKind::cpu : DeviceKind::gpu));
  return plan;
}

DeviceProfile profile_of(const Provenance& device, bool cpu) {
  DeviceProfile profile = typical_profile(cpu ? DeviceKind::cpu : DeviceKind::gpu);
  profile.name = device.device_name;
  profile.title = fmt::format("{}, {}", device.device_name, device.isa);
  if (cpu)
    profile.title += fmt::format(", {} thread{}", device.threads, device.threads == 1 ? "" : "s");
  profile.origin = Origin::calibrated;
  profile.shared_memory = cpu;
  if (!cpu) profile.multiprocessors = Quantity{static_cast<double>(device.threads), "the driver"};
  profile.cache_bandwidth_bytes_per_s.reset();  // the curves hold what the cache gives
  return profile;
}

}  // namespace

std::vector<GridCell> calibration_grid(const std::string& device, int threads) {
  std::vector<GridCell> cells;
  for (const GridModel& grid : grid_models())
    for (const GridPoint& point : grid_points(grid, device == "cpu"))
      cells.push_back({spec_of(grid),
                       {.model = grid.name,
                        .device = device,
                        .dtype = point.dtype,
                        .context = point.context,
                        .new_tokens = 9,
                        .chunk = point.chunk,
                        .threads = threads}});
  return cells;
}

std::vector<Record> measure_grid(const CalibrationOptions& options) {
  std::vector<Record> records;
  for (const auto& [spec, cell] : calibration_grid(options.device, options.threads)) {
    if (options.progress)
      options.progress(fmt::format("{}, {} tokens in chunks of {}, {}", cell.model, cell.context,
                                   cell.chunk, name(cell.dtype)));
    MeasureRequest request;
    request.cell = cell;
    request.options.stopping.time_budget_s = options.budget_s;
    request.options.profile_budget_s = options.budget_s / 2;
    records.push_back(measure_model({spec, synthetic_weights(spec, 0)}, request));
  }
  return records;
}

namespace {

struct MeasuredCell {
  Cell cell;
  GridModel model;
  Plan plan;
  const Record* record;
  // Steps of the prefill: what each takes beside its kernels is no kernel's.
  double steps() const { return static_cast<double>(plan.body_count + 1); }
};

double prefill_operators(const MeasuredCell& c) {
  double calls = 0;
  for (const OperatorRow& row : c.record->prefill->rows) calls += static_cast<double>(row.calls);
  return calls;
}

// The host cannot issue operators of a prefill faster than this.
double dispatch_s(const std::vector<MeasuredCell>& cells) {
  double least = 1;
  for (const MeasuredCell& c : cells)
    least = std::min(least, c.record->metrics.ttft_s->median / prefill_operators(c));
  return least;
}

Calibration fit_cells(const std::vector<MeasuredCell>& cells, double step_s) {
  const Record& first = *cells.front().record;
  const bool cpu = first.cell.device == "cpu";
  // On a processor operators are host and device in one.
  const double issued_s = cpu ? 0 : dispatch_s(cells);
  std::vector<KernelSample> samples;
  for (const MeasuredCell& c : cells) {
    const auto add = [&](const OperatorProfile& profile, Phase phase, double pass_s) {
      for (const KernelSample& s : samples_of(c.plan, profile, phase, pass_s, cpu))
        if (wanted(s, c.model, c.cell, phase)) samples.push_back(s);
    };
    const Metrics& m = c.record->metrics;
    // A prefill that is as fast as the host issues it says nothing about kernels.
    if (m.ttft_s->median > 1.5 * issued_s * prefill_operators(c))
      add(*c.record->prefill, Phase::prefill, m.ttft_s->median - c.steps() * step_s);
    add(*c.record->decode, Phase::decode, m.tpot_s->median - step_s);
  }
  Calibration result{.profile = profile_of(first.provenance, cpu),
                     .prefill_ratios = {},
                     .decode_ratios = {},
                     .samples = samples.size()};
  DeviceProfile& profile = result.profile;
  profile.memory_bytes = {
      static_cast<double>(cpu ? first.provenance.memory_bytes : first.memory.budget_bytes),
      cpu ? "the system" : "the driver"};
  fit_profile(profile, samples);
  if (!cpu)
    profile.dispatch_s = {issued_s, "tidemark calibrate: the shortest prefill, over its operators"};
  profile.step_s = {step_s, "tidemark calibrate: what makes whole passes come out best"};
  for (const MeasuredCell& c : cells) {
    const Metrics& m = c.record->metrics;
    const double prefill_s = predict_prefill(c.plan, profile).wall_s;
    const double decode_s = predict_decode(c.plan, profile, 0, c.cell.new_tokens - 2).wall_s;
    result.prefill_ratios.push_back(prefill_s / m.ttft_s->median);
    result.decode_ratios.push_back(decode_s / static_cast<double>(c.cell.new_tokens - 1) /
                                   m.tpot_s->median);
  }
  return result;
}

double mean_error(const Calibration& c) {
  double sum = 0;
  for (const std::vector<double>* ratios : {&c.prefill_ratios, &c.decode_ratios})
    for (const double r : *ratios) sum += std::abs(std::log(r));
  return sum;
}

// What was measured must be what its plan says now, operator by operator.
void check_operators(const MeasuredCell& c, Phase phase, const std::vector<OperatorRow>& measured) {
  const std::vector<OperatorRow> planned = phase_rows(c.plan, phase).rows;
  if (measured.size() != planned.size())
    fail("calibration: {}, {}: expected {} operators, found {}: measured by another version",
         c.cell.model, name(phase), planned.size(), measured.size());
  for (size_t i = 0; i < planned.size(); ++i)
    if (measured[i].ops != planned[i].ops)
      fail("calibration: {}, {}, {}: expected {} operations, found {}: measured by another version",
           c.cell.model, name(phase), planned[i].op, planned[i].ops, measured[i].ops);
}

}  // namespace

Calibration fit_records(const std::vector<Record>& records) {
  std::vector<MeasuredCell> cells;
  double shortest_s = 1;
  for (const Record& r : records) {
    if (r.outcome != Outcome::ok || !r.prefill || !r.decode) continue;  // it did not fit
    cells.push_back({r.cell, grid_model(r.cell), plan_of(r), &r});
    check_operators(cells.back(), Phase::prefill, r.prefill->rows);
    check_operators(cells.back(), Phase::decode, r.decode->rows);
    shortest_s = std::min(shortest_s, r.metrics.tpot_s->median);
  }
  if (cells.empty()) fail("calibration: expected at least one cell that was measured");
  // In eighths of the shortest step.
  Calibration best = fit_cells(cells, 0);
  for (int eighths = 1; eighths < 8; ++eighths) {
    Calibration other = fit_cells(cells, shortest_s * eighths / 8);
    if (mean_error(other) < mean_error(best)) best = std::move(other);
  }
  return best;
}

}  // namespace tidemark
