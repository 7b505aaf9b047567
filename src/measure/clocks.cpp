#include "measure/clocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string_view>

#include "measure/sysfs.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;

// Of the `busy` fastest cores: others may idle at a fraction of it.
std::optional<double> median_frequency_hz(const fs::path& cpus, int64_t busy) {
  std::vector<int64_t> khz;
  for (const fs::path& cpu : entries(cpus, "cpu"))
    if (const auto value = read_integer(cpu / "cpufreq/scaling_cur_freq")) khz.push_back(*value);
  if (khz.empty()) return std::nullopt;
  std::ranges::sort(khz, std::greater());
  khz.resize(std::min(khz.size(), static_cast<size_t>(std::max<int64_t>(1, busy))));
  return static_cast<double>(khz[khz.size() / 2]) * 1e3;
}

// Counts of Intel's thermal_throttle interface; a package's count shows at each of its cores, so
// that the sum tells whether there were events, not how many.
std::optional<int64_t> throttle_events(const fs::path& cpus) {
  std::optional<int64_t> events;
  for (const fs::path& cpu : entries(cpus, "cpu"))
    for (const char* count : {"core_throttle_count", "package_throttle_count"})
      if (const auto value = read_integer(cpu / "thermal_throttle" / count))
        events = events.value_or(0) + *value;
  return events;
}

std::optional<double> hottest_c(const fs::path& sysfs) {
  std::optional<int64_t> millidegrees;
  const auto consider = [&](const fs::path& file) {
    if (const auto value = read_integer(file))
      millidegrees = std::max(millidegrees.value_or(*value), *value);
  };
  // A board has zones of batteries and radios too.
  for (const fs::path& zone : entries(sysfs / "class/thermal", "thermal_zone")) {
    const std::string type = read_line(zone / "type");
    for (std::string_view ours : {"pkg", "cpu", "CPU", "soc", "gpu", "GPU", "tj"})
      if (type.find(ours) != std::string::npos) {
        consider(zone / "temp");
        break;
      }
  }
  for (const fs::path& monitor : entries(sysfs / "class/hwmon", "hwmon")) {
    const std::string name = read_line(monitor / "name");
    if (name != "coretemp" && name != "k10temp") continue;
    for (const fs::path& file : entries(monitor, "temp"))
      if (file.filename().string().ends_with("_input")) consider(file);
  }
  if (!millidegrees) return std::nullopt;
  return static_cast<double>(*millidegrees) * 1e-3;
}

}  // namespace

ClockReading read_clocks(const fs::path& sysfs, int64_t busy) {
  const fs::path cpus = sysfs / "devices/system/cpu";
  return {.frequency_hz = median_frequency_hz(cpus, busy),
          .temperature_c = hottest_c(sysfs),
          .throttle_events = throttle_events(cpus)};
}

std::vector<std::string> clock_flags(const ClockReading& before, const ClockReading& after) {
  std::vector<std::string> flags;
  if (after.frequency_hz)
    flags.push_back(fmt::format("clock {:.2f} GHz", *after.frequency_hz * 1e-9));
  if (after.temperature_c)
    flags.push_back(fmt::format("temperature {:.0f} C", *after.temperature_c));
  if (before.throttle_events && after.throttle_events &&
      *after.throttle_events > *before.throttle_events)
    flags.push_back("throttled");
  return flags;
}

}  // namespace tidemark
