#include "cost/predict.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace tidemark {
namespace {

// Device and host side by side: a kernel starts when the one before it is done and the host has
// issued it.
struct Queue {
  double host = 0, device = 0;
  void run(double host_s, double device_s) {
    host += host_s;
    device = std::max(device, host) + device_s;
  }
};

// How much the host's dispatch may differ; unlike kernels it is not measured by class.
constexpr double host_error = 0.3;

std::vector<Launch> launches_of(const Node& node, StepKind kind, const Plan& plan,
                                const DeviceProfile& profile, const PredictOptions& options) {
  if (options.launches) return options.launches(node, plan);
  return {{work(node.op, plan), kind == StepKind::decode ? 0 : profile.dispatch_s.value}};
}

// One step at the position it is at.
PassPrediction predict_step(const Step& step, const Plan& plan, const DeviceProfile& profile,
                            const PredictOptions& options) {
  PassPrediction pass;
  pass.rows.resize(step.nodes.size());
  std::vector<std::vector<Launch>> launches;
  double cold_bytes = 0;
  for (const Node& node : step.nodes) {
    launches.push_back(launches_of(node, step.kind, plan, profile, options));
    for (const Launch& launch : launches.back()) cold_bytes += launch.work.cold_bytes;
  }
  const Cold cold = profile.cache_bytes && cold_bytes <= profile.cache_bytes->value
                        ? Cold::in_cache
                        : Cold::in_memory;
  Queue wall, low, high;
  for (Queue* queue : {&wall, &low, &high}) queue->run(0, profile.step_s.value);
  for (size_t i = 0; i < step.nodes.size(); ++i) {
    const Node& node = step.nodes[i];
    NodePrediction& row = pass.rows[i];
    row.cost = cost(node.op, plan);
    row.calls = 1;
    for (const Launch& launch : launches[i]) {
      const Timing t = time_of(launch.work, profile, options.scales, cold);
      const double host_s = launch.host_s / options.scales.launch;
      wall.run(host_s, t.time_s());
      low.run(host_s / (1 + host_error), t.low_s());
      high.run(host_s * (1 + host_error), t.high_s());
      row.time_s += t.time_s();
      row.low_s += t.low_s();
      row.high_s += t.high_s();
      row.compute_s += t.compute_s;
      row.bandwidth_s += t.bandwidth_s;
      row.launch_s += t.launch_s;
      row.energy_j += t.time_s() * power_w(t.bound(), profile);
      pass.host_s += host_s;
    }
    pass.busy_s += row.time_s;
    pass.energy_j += row.energy_j;
  }
  pass.wall_s = wall.device;
  pass.low_s = low.device;
  pass.high_s = high.device;
  pass.energy_j += (pass.wall_s - pass.busy_s) * power_w(Bound::launch, profile);
  pass.energy_low_j = pass.energy_j * pass.low_s / pass.wall_s;
  pass.energy_high_j = pass.energy_j * pass.high_s / pass.wall_s;
  return pass;
}

// Times and energy of `into` += weight * those of `step`.
void add(PassPrediction& into, const PassPrediction& step, double weight) {
  for (size_t i = 0; i < step.rows.size(); ++i) {
    NodePrediction& to = into.rows[i];
    const NodePrediction& from = step.rows[i];
    to.time_s += weight * from.time_s;
    to.low_s += weight * from.low_s;
    to.high_s += weight * from.high_s;
    to.compute_s += weight * from.compute_s;
    to.bandwidth_s += weight * from.bandwidth_s;
    to.launch_s += weight * from.launch_s;
    to.energy_j += weight * from.energy_j;
  }
  into.wall_s += weight * step.wall_s;
  into.low_s += weight * step.low_s;
  into.high_s += weight * step.high_s;
  into.busy_s += weight * step.busy_s;
  into.host_s += weight * step.host_s;
  into.energy_j += weight * step.energy_j;
  into.energy_low_j += weight * step.energy_low_j;
  into.energy_high_j += weight * step.energy_high_j;
}

// The sum of n equally spaced values of a linear function, from its first and last.
Count linear_sum(Count first, Count last, int64_t n) {
  return (first + last) * n / 2;
}

class StepSum {
 public:
  StepSum(Step step, int64_t first_past, int64_t stride, const Plan& plan,
          const DeviceProfile& profile, const PredictOptions& options)
      : step_(std::move(step)),
        first_past_(first_past),
        stride_(stride),
        plan_(plan),
        profile_(profile),
        options_(options) {}

  // Adds steps [first, last], step i being at first_past + i * stride.
  void add_steps(int64_t first, int64_t last, PassPrediction& into) {
    if (first > last) return;
    // Position 0 reads no state, and eighths cannot all straddle the ends of windows evenly.
    constexpr int64_t pieces = 8;
    if (first == 0 && last > 0) {
      add_between(at(0), 0, at(0), 0, into);
      first = 1;
    }
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const int64_t n = last - first + 1;
      const int64_t from = first + n * piece / pieces, to = first + n * (piece + 1) / pieces - 1;
      if (from <= to) add_between(at(from), from, at(to), to, into);
    }
  }

 private:
  PassPrediction at(int64_t i) {
    set_past(step_, first_past_ + i * stride_);
    return predict_step(step_, plan_, profile_, options_);
  }

  void add_between(const PassPrediction& a, int64_t first, const PassPrediction& b, int64_t last,
                   PassPrediction& into) {
    const int64_t n = last - first + 1;
    if (n > 2) {
      const int64_t middle = first + (last - first) / 2;
      const PassPrediction m = at(middle);
      if (!linear(a, first, m, middle, b, last)) {
        add_between(a, first, m, middle, into);
        add_between(at(middle + 1), middle + 1, b, last, into);
        return;
      }
    }
    const double weight = n == 1 ? 1 : static_cast<double>(n) / 2;
    add(into, a, weight);
    if (n > 1) add(into, b, weight);
    for (size_t i = 0; i < a.rows.size(); ++i) {
      Cost& to = into.rows[i].cost;
      const Cost &x = a.rows[i].cost, &y = b.rows[i].cost;
      to.ops += linear_sum(x.ops, y.ops, n);
      to.bytes_read += linear_sum(x.bytes_read, y.bytes_read, n);
      to.bytes_written += linear_sum(x.bytes_written, y.bytes_written, n);
      into.rows[i].calls += n;
    }
  }

  // Costs exactly on the line between both ends, time nearly so.
  static bool linear(const PassPrediction& a, int64_t first, const PassPrediction& m,
                     int64_t middle, const PassPrediction& b, int64_t last) {
    const auto on_line = [&](Count x, Count y, Count z) {
      return (y - x) * (last - first) == (z - x) * (middle - first);
    };
    for (size_t i = 0; i < a.rows.size(); ++i) {
      const Cost &x = a.rows[i].cost, &y = m.rows[i].cost, &z = b.rows[i].cost;
      if (!on_line(x.ops, y.ops, z.ops) || !on_line(x.bytes_read, y.bytes_read, z.bytes_read) ||
          !on_line(x.bytes_written, y.bytes_written, z.bytes_written))
        return false;
    }
    const double share = static_cast<double>(middle - first) / static_cast<double>(last - first);
    const double line = a.wall_s + share * (b.wall_s - a.wall_s);
    constexpr double tolerance = 1e-3;
    return std::abs(m.wall_s - line) <= tolerance * m.wall_s;
  }

  Step step_;
  int64_t first_past_, stride_;
  const Plan& plan_;
  const DeviceProfile& profile_;
  const PredictOptions& options_;
};

PassPrediction rows_of(const Step& step) {
  PassPrediction pass;
  for (const Node& node : step.nodes) pass.nodes.push_back(&node);
  pass.rows.resize(step.nodes.size());
  return pass;
}

Summary summary(double value, double low, double high) {
  return {.median = value, .p5 = low, .p95 = high, .ci_low = low, .ci_high = high};
}

Summary rate(double tokens, const Summary& time) {
  return summary(tokens / time.median, tokens / time.ci_high, tokens / time.ci_low);
}

OperatorProfile operators(const PassPrediction& pass) {
  OperatorProfile profile{.passes = 0, .wall_s = pass.wall_s, .gap_s = pass.wall_s - pass.busy_s};
  if (pass.host_s > 0)
    profile.device = DeviceTime{
        .busy_s = pass.busy_s, .host_dispatch_s = pass.host_s, .idle_s = pass.wall_s - pass.busy_s};
  for (size_t i = 0; i < pass.rows.size(); ++i) {
    const Node& node = *pass.nodes[i];
    const NodePrediction& row = pass.rows[i];
    profile.rows.push_back({.index = static_cast<int64_t>(i),
                            .op = std::string(name(node.op)),
                            .category = category(node.op),
                            .role = node.role,
                            .layer = node.layer,
                            .calls = row.calls,
                            .time_s = row.time_s,
                            .ops = saturated(row.cost.ops),
                            .bytes_read = saturated(row.cost.bytes_read),
                            .bytes_written = saturated(row.cost.bytes_written),
                            .implementation = "roofline",
                            .bound = row.bound(),
                            .time_low_s = row.low_s,
                            .time_high_s = row.high_s});
  }
  return profile;
}

// Of one of `passes` that were summed.
std::optional<Energy> energy(const PassPrediction& sum, double passes,
                             const DeviceProfile& profile) {
  if (!profile.board_w) return std::nullopt;
  const double pass_s = sum.wall_s / passes;
  Energy e{.total_j = sum.energy_j / passes, .window_s = pass_s, .sensor = "predicted"};
  if (profile.idle_w) e.baseline_j = profile.idle_w->value * pass_s;
  e.low_j = sum.energy_low_j / passes;
  e.high_j = sum.energy_high_j / passes;
  return e;
}

}  // namespace

Bound NodePrediction::bound() const {
  return Timing{compute_s, bandwidth_s, launch_s}.bound();
}

PassPrediction predict_prefill(const Plan& plan, const DeviceProfile& profile,
                               const PredictOptions& options) {
  const int64_t chunk = plan.workload.chunk;
  const Step& tail = plan.step(StepKind::tail);
  PassPrediction pass = rows_of(tail);
  if (plan.body_count > 0)
    StepSum(plan.step(StepKind::body), 0, chunk, plan, profile, options)
        .add_steps(0, plan.body_count - 1, pass);
  StepSum(tail, plan.body_count * chunk, chunk, plan, profile, options).add_steps(0, 0, pass);
  return pass;
}

PassPrediction predict_decode(const Plan& plan, const DeviceProfile& profile, int64_t first,
                              int64_t last, const PredictOptions& options) {
  const Step& decode = plan.step(StepKind::decode);
  if (decode.nodes.empty()) fail("a plan of one new token has no decode steps to predict");
  PassPrediction pass = rows_of(decode);
  StepSum(decode, plan.prompt() + first, 1, plan, profile, options)
      .add_steps(0, last - first, pass);
  return pass;
}

Record predict(const Plan& plan, const DeviceProfile& profile, const MemoryByTag& memory,
               const PredictOptions& options) {
  const Workload& w = plan.workload;
  Record record;
  record.source = Source::predicted;
  record.cell = {.model = plan.model,
                 .device = profile.name,
                 .dtype = w.dtype,
                 .batch = w.batch,
                 .context = w.context,
                 .new_tokens = w.new_tokens,
                 .chunk = w.chunk,
                 .logits = w.logits};
  record.memory.predicted = memory;
  record.memory.budget_bytes = static_cast<int64_t>(profile.memory_bytes.value);
  record.provenance.device_name = profile.title;
  record.provenance.memory_bytes = record.memory.budget_bytes;
  record.flags.push_back(fmt::format("{} profile", name(profile.origin)));
  if (memory.total() > record.memory.budget_bytes) {
    record.outcome = Outcome::out_of_memory;
    record.reason = fmt::format("the plan takes {} bytes, {} has {}", memory.total(), profile.name,
                                record.memory.budget_bytes);
    return record;
  }
  const auto batch = static_cast<double>(w.batch);
  const PassPrediction prefill = predict_prefill(plan, profile, options);
  const Summary ttft = summary(prefill.wall_s, prefill.low_s, prefill.high_s);
  record.metrics.ttft_s = ttft;
  record.metrics.prefill_tokens_per_s = rate(batch * static_cast<double>(w.context), ttft);
  record.prefill = operators(prefill);
  record.prefill_energy = energy(prefill, 1, profile);
  if (w.new_tokens == 1) return record;
  const auto steps = static_cast<double>(w.new_tokens - 1);
  const PassPrediction all = predict_decode(plan, profile, 0, w.new_tokens - 2, options);
  const PassPrediction first = predict_decode(plan, profile, 0, 0, options);
  const Summary tpot = summary(all.wall_s / steps, all.low_s / steps, all.high_s / steps);
  record.metrics.tpot_s = tpot;
  record.metrics.decode_tokens_per_s = rate(batch, tpot);
  record.metrics.end_to_end_s =
      summary(ttft.median + all.wall_s, ttft.ci_low + all.low_s, ttft.ci_high + all.high_s);
  record.decode = operators(first);
  record.decode_energy = energy(all, steps, profile);
  return record;
}

}  // namespace tidemark
