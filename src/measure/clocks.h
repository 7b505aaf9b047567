// Clock, temperature and throttling of the CPU, where the system lets them be read. They mark a
// result; they never empty it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace tidemark {

struct ClockReading {
  std::optional<double> frequency_hz{};      // median over the busy cores
  std::optional<double> temperature_c{};     // the hottest sensor of the processor
  std::optional<int64_t> throttle_events{};  // grows with every event
};

// With `busy` cores at work, of which the fastest are taken to be.
ClockReading read_clocks(const std::filesystem::path& sysfs, int64_t busy);

// For Record::flags, of readings right before and right after a measurement: "clock 3.40 GHz",
// "temperature 71 C", "throttled". Nothing for what cannot be read.
std::vector<std::string> clock_flags(const ClockReading& before, const ClockReading& after);

}  // namespace tidemark
