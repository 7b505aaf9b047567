#include "measure/gpu.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

namespace tidemark {
namespace {

// The counter moves ten times a second or faster on the cards that have one.
constexpr double update_interval_s = 0.1;

}  // namespace

std::unique_ptr<PowerSensor> gpu_power_sensor(ReadGpu read, std::function<double()> now_s) {
  const auto state = read();
  if (!state) return nullptr;
  std::vector<EnergyCounter> counters;
  std::vector<PowerRail> rails;
  if (state->energy_j > 0)
    counters.push_back({.name = "NVML energy", .read_uj = [read]() -> std::optional<int64_t> {
                          const auto now = read();
                          if (!now || now->energy_j <= 0) return std::nullopt;
                          return std::llround(now->energy_j * 1e6);
                        }});
  else if (state->power_w > 0)
    rails.push_back({.name = "NVML power", .read_w = [read]() -> std::optional<double> {
                       const auto now = read();
                       if (!now || now->power_w <= 0) return std::nullopt;  // a failed reading
                       return now->power_w;
                     }});
  else
    return nullptr;
  return std::make_unique<PowerSensor>(std::move(counters), std::move(rails), update_interval_s,
                                       std::move(now_s));
}

std::vector<std::string> describe(const GpuState& s) {
  std::vector<std::string> words;
  if (s.sm_clock_mhz > 0) {
    words.push_back(fmt::format("SM clock {}", s.sm_clock_mhz));
    if (s.max_sm_clock_mhz > 0) words.back() += fmt::format(" of {}", s.max_sm_clock_mhz);
    words.back() += " MHz";
  }
  if (s.memory_clock_mhz > 0)
    words.push_back(fmt::format("memory clock {} MHz", s.memory_clock_mhz));
  if (s.temperature_c > 0) words.push_back(fmt::format("temperature {} C", s.temperature_c));
  if (s.power_cap_w > 0) words.push_back(fmt::format("power cap {:.0f} W", s.power_cap_w));
  return words;
}

std::vector<std::string> gpu_flags(const GpuState& before, const GpuState& after) {
  std::vector<std::string> flags = describe(after);
  const auto held = [&](const char* by, double from_s, double to_s) {
    if (to_s > from_s)
      flags.push_back(fmt::format("throttled by {} for {:.2f} s", by, to_s - from_s));
  };
  held("power", before.held_by_power_s, after.held_by_power_s);
  held("temperature", before.held_by_temperature_s, after.held_by_temperature_s);
  if (const auto reasons = throttle_reasons(after.throttle_bits); !reasons.empty())
    flags.push_back(fmt::format("throttled at the end: {}", fmt::join(reasons, ", ")));
  return flags;
}

}  // namespace tidemark
