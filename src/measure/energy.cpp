#include "measure/energy.h"

#include <fmt/format.h>

#include <cmath>

namespace tidemark {
namespace {

// Energy over time is a power only where both were measured at the same clocks.
void flag_other_pace(const std::optional<Energy>& energy, const std::optional<Summary>& time_s,
                     std::string_view what, Record& record) {
  if (!energy || !time_s) return;
  const double ratio = *energy->pass_s / time_s->median;
  if (std::abs(ratio - 1) > 0.05)
    record.flags.push_back(
        fmt::format("while energy was measured {} took {:.2f} times their median", what, ratio));
}

}  // namespace

void measure_energy(Executor& executor, PowerSensor& sensor, std::optional<double> idle_w,
                    const EnergyOptions& options, const std::function<double()>& now_s,
                    Record& record) {
  const Workload& w = executor.plan().workload;
  record.prefill_energy = energy_per_pass(
      sensor, idle_w, options.phase_window_s, [&] { executor.prefill(); },
      record.metrics.ttft_s->median, now_s);
  flag_other_pace(record.prefill_energy, record.metrics.ttft_s, "prefills", record);
  const int64_t steps = w.new_tokens - 1;
  if (steps == 0) return;
  // The same positions over and over: the work does not depend on what the caches hold.
  record.decode_energy = energy_per_pass(
      sensor, idle_w, options.phase_window_s,
      [&] {
        // As generations are timed: a device that takes steps ahead has one waiting.
        for (int64_t i = 0; i < steps; ++i) {
          executor.queue_decode(w.context + i);
          executor.backend().wait_for_steps(executor.backend().steps_ahead());
        }
        executor.backend().wait_for_steps(0);
      },
      static_cast<double>(steps) * record.metrics.tpot_s->median, now_s);
  if (record.decode_energy) {
    Energy& energy = *record.decode_energy;
    energy.total_j /= static_cast<double>(steps);
    *energy.pass_s /= static_cast<double>(steps);
    if (energy.baseline_j) *energy.baseline_j /= static_cast<double>(steps);
  }
  flag_other_pace(record.decode_energy, record.metrics.tpot_s, "decode steps", record);
}

}  // namespace tidemark
