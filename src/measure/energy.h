// Energy of the two phases of a model, each in a window of its own.
#pragma once

#include <functional>
#include <optional>

#include "backend/executor.h"
#include "measure/power.h"
#include "record/record.h"

namespace tidemark {

struct EnergyOptions {
  double idle_window_s = 2;   // or the sensor's shortest, if longer
  double phase_window_s = 2;  // likewise, of each phase
};

// Fills prefill_energy (one prefill) and decode_energy (one step, the mean over a generation's).
// `idle_w` was measured before the model was at work. The executor has its weights and prompt.
void measure_energy(Executor&, PowerSensor&, std::optional<double> idle_w, const EnergyOptions&,
                    const std::function<double()>& now_s, Record&);

}  // namespace tidemark
