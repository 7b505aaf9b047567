// A GPU's own sensors in the terms of a measurement: energy, and the state that marks a result.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/nvml.h"
#include "measure/power.h"

namespace tidemark {

using ReadGpu = std::function<std::optional<GpuState>()>;

// The card's counter of energy; of a card that has none its power, sampled. Null where it says
// neither.
std::unique_ptr<PowerSensor> gpu_power_sensor(ReadGpu, std::function<double()> now_s);

// "SM clock 1980 of 1980 MHz, memory 3201 MHz", "46 C", "power cap 700 W"; what the card does not
// say is left out.
std::vector<std::string> describe(const GpuState&);
// For Record::flags, of readings right before and right after a measurement: the state after it,
// and what held the clocks back, then or for how long in between.
std::vector<std::string> gpu_flags(const GpuState& before, const GpuState& after);

}  // namespace tidemark
