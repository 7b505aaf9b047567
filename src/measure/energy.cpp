#include "measure/energy.h"

namespace tidemark {

void measure_energy(Executor& executor, PowerSensor& sensor, std::optional<double> idle_w,
                    const EnergyOptions& options, const std::function<double()>& now_s,
                    Record& record) {
  const Workload& w = executor.plan().workload;
  record.prefill_energy = energy_per_pass(
      sensor, idle_w, options.phase_window_s, [&] { executor.prefill(); }, now_s);
  const int64_t steps = w.new_tokens - 1;
  if (steps == 0) return;
  // The same positions over and over: the work does not depend on what the caches hold.
  record.decode_energy = energy_per_pass(
      sensor, idle_w, options.phase_window_s,
      [&] {
        for (int64_t i = 0; i < steps; ++i) executor.decode(w.context + i);
      },
      now_s);
  if (!record.decode_energy) return;
  record.decode_energy->total_j /= static_cast<double>(steps);
  if (record.decode_energy->baseline_j)
    *record.decode_energy->baseline_j /= static_cast<double>(steps);
}

}  // namespace tidemark
