#include "measure/harness.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <set>

#include "base/quantile.h"
#include "measure/operator_rows.h"
#include "measure/provenance.h"
#include "measure/stats.h"

namespace tidemark {
namespace {

// Times of one generation. Allocated before it starts.
struct Generation {
  double ttft_s = 0;
  std::vector<double> step_s;  // [new_tokens - 1]
  explicit Generation(int64_t steps) : step_s(static_cast<size_t>(steps)) {}
  double decode_s() const { return std::accumulate(step_s.begin(), step_s.end(), 0.0); }
};

// One stamp ends a part and starts the next, so that the parts add up to the whole. On a device
// that takes steps ahead the next one is queued before the end of the one before is waited for.
void generate(Executor& executor, const std::function<double()>& now_s, Generation& out) {
  const int64_t context = executor.plan().workload.context;
  const auto steps = static_cast<int64_t>(out.step_s.size());
  const int64_t ahead = std::min<int64_t>(executor.backend().steps_ahead(), steps);
  double last_s = now_s();
  const auto lap = [&] {
    const double now = now_s();
    return now - std::exchange(last_s, now);
  };
  executor.prefill();
  out.ttft_s = lap();
  for (int64_t i = 0; i < steps + ahead; ++i) {
    if (i < steps) executor.queue_decode(context + i);
    if (i < ahead) continue;
    executor.backend().wait_for_steps(static_cast<int>(std::min(ahead, steps + ahead - 1 - i)));
    out.step_s[static_cast<size_t>(i - ahead)] = lap();
  }
}

// One generation that nobody times, step by step, told of after each.
void warm_up(Executor& executor, const std::function<void(double)>& tell) {
  const Plan& plan = executor.plan();
  const int64_t prefill = plan.body_count + 1, steps = prefill + plan.workload.new_tokens - 1;
  for (int64_t i = 0; i < steps; ++i) {
    tell(static_cast<double>(i) / static_cast<double>(steps));
    if (i < prefill) {
      executor.prefill_step(i);
      executor.backend().synchronize();
    } else {
      executor.decode(plan.workload.context + i - prefill);
    }
  }
}

// One pass that is watched node by node.
struct WatchedPass {
  std::vector<double> row_s;
  double wall_s = 0;
  std::optional<DeviceTime> device;
};

WatchedPass watch_pass(Executor& executor, const PhaseRows& rows, Phase phase,
                       const std::function<double()>& now_s) {
  const Plan& plan = executor.plan();
  WatchedPass pass{.row_s = std::vector<double>(rows.rows.size(), 0.0), .device = {}};
  for (int64_t i = 0; i < step_count(plan, phase); ++i) {
    const StepProfile step = executor.profile_step(phase, i, now_s);
    const auto& row_of = rows.row_of[static_cast<size_t>(step_kind(plan, phase, i))];
    for (size_t node = 0; node < step.nodes.size(); ++node)
      pass.row_s[row_of[node]] += step.nodes[node].time_s;
    pass.wall_s += step.device ? step.device->busy_s : step.wall_s;
    if (step.device) (pass.device ? *pass.device : pass.device.emplace()) += *step.device;
  }
  return pass;
}

void set_implementations(Executor& executor, PhaseRows& rows) {
  for (size_t kind = 0; kind < rows.row_of.size(); ++kind)
    for (size_t i = 0; i < rows.row_of[kind].size(); ++i) {
      std::string& name = rows.rows[rows.row_of[kind][i]].implementation;
      const std::string ran = executor.backend().implementation(static_cast<StepKind>(kind), i);
      if (name.empty()) {
        name = ran;
      } else if (name != ran) {
        name += " | " + ran;  // the tail is shorter than the body and may run another kernel
      }
    }
}

// The passes that are left when a quarter at each end of the wall times is dropped, one at least
// from three passes on.
std::vector<size_t> middle_half(const std::vector<WatchedPass>& passes) {
  std::vector<size_t> order(passes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return passes[a].wall_s < passes[b].wall_s; });
  const size_t drop = order.size() < 3 ? 0 : std::max<size_t>(1, order.size() / 4);
  return {order.begin() + static_cast<int64_t>(drop), order.end() - static_cast<int64_t>(drop)};
}

OperatorProfile profile(Executor& executor, const MeasureOptions& options, Phase phase,
                        int64_t max_passes, double unprofiled_s,
                        const std::function<void(double)>& tell) {
  const Plan& plan = executor.plan();
  PhaseRows rows = phase_rows(plan, phase);
  set_implementations(executor, rows);
  // Kernels that run only while each is watched have not run yet: one step of each kind, uncounted.
  for (const int64_t i : std::set<int64_t>{0, step_count(plan, phase) - 1})
    executor.profile_step(phase, i, options.now_s);

  std::vector<WatchedPass> passes;
  double spent_s = 0;
  while (static_cast<int64_t>(passes.size()) < max_passes) {
    const double start_s = options.now_s();
    passes.push_back(watch_pass(executor, rows, phase, options.now_s));
    spent_s += options.now_s() - start_s;
    const auto count = static_cast<double>(passes.size());
    if (spent_s + spent_s / count > options.profile_budget_s) break;
    tell(count / static_cast<double>(max_passes));
  }

  const std::vector<size_t> middle = middle_half(passes);
  const auto mean = [&](auto value_of_pass) {
    double sum = 0;
    for (size_t pass : middle) sum += value_of_pass(passes[pass]);
    return sum / static_cast<double>(middle.size());
  };
  OperatorProfile result;
  result.passes = static_cast<int64_t>(passes.size());
  result.wall_s = mean([](const WatchedPass& pass) { return pass.wall_s; });
  result.gap_s = result.wall_s;
  if (unprofiled_s > 0) result.overhead = result.wall_s / unprofiled_s;
  const bool by_device = std::all_of(passes.begin(), passes.end(), [](const WatchedPass& pass) {
    return pass.device.has_value();
  });
  if (by_device)
    result.device = {
        .busy_s = result.wall_s,
        .host_dispatch_s = mean([](const WatchedPass& p) { return p.device->host_dispatch_s; }),
        .idle_s = mean([](const WatchedPass& p) { return p.device->idle_s; })};
  for (size_t row = 0; row < rows.rows.size(); ++row) {
    rows.rows[row].time_s = mean([&](const WatchedPass& pass) { return pass.row_s[row]; });
    result.gap_s -= rows.rows[row].time_s;
  }
  result.rows = std::move(rows.rows);
  return result;
}

std::vector<double> rates(double tokens, const std::vector<double>& times_s) {
  std::vector<double> rates;
  for (double t : times_s) rates.push_back(tokens / t);
  return rates;
}

}  // namespace

double steady_now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Record start_record(const Plan& plan, const BackendInfo& info) {
  const Workload& w = plan.workload;
  Record record;
  record.cell = {.model = plan.model,
                 .device = info.device,
                 .dtype = w.dtype,
                 .batch = w.batch,
                 .context = w.context,
                 .new_tokens = w.new_tokens,
                 .chunk = w.chunk,
                 .logits = w.logits,
                 .threads = info.threads};
  record.memory.budget_bytes = info.memory_bytes;
  record.provenance = machine_provenance();
  record.provenance.device_name = info.name;
  record.provenance.isa = info.isa;
  record.provenance.threads = info.threads;
  record.provenance.libraries = info.libraries;
  if (!reset_peak_rss()) record.flags.push_back("peak RSS counts from the start of the process");
  return record;
}

void measure(Executor& executor, const MeasureOptions& options, Record& record) {
  const Workload& w = executor.plan().workload;
  const int64_t steps = w.new_tokens - 1;
  const StoppingRule& rule = options.stopping;
  double told = 0;
  const auto tell = [&](std::string_view stage, double done) {
    told = std::max(told, std::min(done, 1.0));  // an estimate may fall, a bar does not
    if (options.progress) options.progress({stage, told});
  };

  // Until one generation has run nothing is known but the least number of runs.
  const double first_part = 1 / static_cast<double>(rule.min_runs + 2);
  const double warmup_start_s = options.now_s();
  double warmup_s = 0;
  int64_t warmup_runs = 0;
  while (rule.warm_up && (warmup_runs == 0 || warmup_s < rule.least_s())) {
    warm_up(executor, [&](double fraction) { tell("warm-up", first_part * fraction); });
    ++warmup_runs;
    warmup_s = options.now_s() - warmup_start_s;
  }

  std::vector<double> ttft_s, tpot_s, end_to_end_s;
  std::vector<Summary> watched;
  Stopping stopping{
      .threshold = rule.threshold, .time_budget_s = rule.time_budget_s, .warmup_runs = warmup_runs};
  std::optional<StopReason> reason;
  double profile_s = 0;  // expected
  while (!reason) {
    Generation generation(steps);
    generate(executor, options.now_s, generation);

    ttft_s.push_back(generation.ttft_s);
    end_to_end_s.push_back(generation.ttft_s + generation.decode_s());
    watched = {summarize(ttft_s)};
    if (steps > 0) {
      tpot_s.push_back(generation.decode_s() / static_cast<double>(steps));
      record.metrics.decode_step_s.push_back(std::move(generation.step_s));
      watched.push_back(summarize(tpot_s));
    }
    stopping.runs += 1;
    stopping.elapsed_s += end_to_end_s.back();
    reason = should_stop(rule, watched, stopping.runs, stopping.elapsed_s, warmup_s);

    profile_s = std::min(static_cast<double>(options.prefill_profile_passes) * watched[0].median,
                         options.profile_budget_s);
    const double done_s = warmup_s + stopping.elapsed_s;
    const double left_s =
        stopping.elapsed_s *
        (1 / done_fraction(rule, watched, stopping.runs, stopping.elapsed_s, warmup_s) - 1);
    tell("generations", done_s / (done_s + left_s + profile_s));
  }
  stopping.reason = *reason;
  if (stopping.runs > 1) stopping.relative_half_width = widest(watched);

  Metrics& metrics = record.metrics;
  const auto batch = static_cast<double>(w.batch);
  metrics.stopping = stopping;
  metrics.ttft_s = watched[0];
  metrics.prefill_tokens_per_s = summarize(rates(batch * static_cast<double>(w.context), ttft_s));
  metrics.end_to_end_s = summarize(std::move(end_to_end_s));
  if (steps > 0) {
    metrics.tpot_s = watched[1];
    metrics.decode_tokens_per_s = summarize(rates(batch, tpot_s));
  }

  // Before what watching operators takes for itself.
  if (const int64_t bytes = executor.backend().overhead_bytes(); bytes > 0)
    record.memory.driver_bytes = bytes;
  const double runs_part = told;
  const auto tell_operators = [&](double fraction) {
    tell("operators", runs_part + (1 - runs_part) * fraction);
  };
  if (options.prefill_profile_passes > 0)
    record.prefill = profile(executor, options, Phase::prefill, options.prefill_profile_passes,
                             metrics.ttft_s->median, tell_operators);
  if (options.decode_profile_passes > 0 && steps > 0) {
    std::vector<double> first_s;  // the steps at the position that is profiled
    for (const auto& step_s : metrics.decode_step_s) first_s.push_back(step_s.front());
    record.decode = profile(executor, options, Phase::decode, options.decode_profile_passes,
                            median(first_s), [](double) {});
  }
  tell("operators", 1);

  record.memory.predicted = executor.layout().size_bytes;
  record.memory.high_water = executor.backend().high_water();
  record.memory.peak_rss_bytes = peak_rss_bytes();
}

}  // namespace tidemark
