#include "measure/power.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "measure/sysfs.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;

// Far above what one counter domain draws; a counter must be read before it can wrap twice.
constexpr double most_power_w = 1000;

// Documentation/power/powercap of Linux: zones intel-rapl:P (package) with subzones
// intel-rapl:P:S. Cores and uncore are within the package; DRAM is beside it. (AMD's counters come
// under the same names, without DRAM.)
std::vector<EnergyCounter> rapl_counters(const fs::path& sysfs, std::string& reason) {
  std::vector<EnergyCounter> counters;
  for (const fs::path& zone : entries(sysfs / "class/powercap", "intel-rapl:")) {
    const std::string id = zone.filename().string();
    const bool subzone = std::count(id.begin(), id.end(), ':') == 2;
    const std::string name = read_line(zone / "name");
    if (subzone ? name != "dram" : !name.starts_with("package")) continue;
    const fs::path file = zone / "energy_uj";
    errno = 0;
    if (!read_integer(file)) {
      // Readable by root alone since Linux 5.10, because fine readings leak secrets.
      reason = fmt::format("{}: {}", file.string(),
                           errno != 0 ? std::strerror(errno) : "does not hold a number");
      return {};
    }
    const std::string package = id.substr(11, id.find(':', 11) - 11);
    counters.push_back({.name = subzone ? "dram-" + package : name,
                        .read_uj = [file] { return read_integer(file); },
                        .range_uj = read_integer(zone / "max_energy_range_uj").value_or(0)});
  }
  if (counters.empty()) reason = "no RAPL counters in " + (sysfs / "class/powercap").string();
  return counters;
}

// hwmon: millivolts and milliamperes per channel (ina3221), or microwatts (power meters, ina2xx).
std::vector<PowerRail> rails_of(const fs::path& monitor) {
  std::vector<PowerRail> rails;
  // An ina3221 has three; its driver's in4 to in6 are shunt voltages, its curr4 the sum of
  // currents.
  const int channels = read_line(monitor / "name") == "ina3221" ? 3 : 8;
  for (int channel = 1; channel <= channels; ++channel) {
    const auto file = [&](const char* what, const char* suffix) {
      return monitor / fmt::format("{}{}_{}", what, channel, suffix);
    };
    std::string name = read_line(file("in", "label"));
    if (name.empty()) name = read_line(file("power", "label"));
    if (name.empty()) name = fmt::format("{} {}", read_line(monitor / "name"), channel);
    const fs::path volts = file("in", "input"), amperes = file("curr", "input");
    fs::path watts = file("power", "input");
    if (!fs::exists(watts)) watts = file("power", "average");
    if (read_integer(watts)) {
      rails.push_back({name, [watts]() -> std::optional<double> {
                         const auto microwatts = read_integer(watts);
                         if (!microwatts) return std::nullopt;
                         return static_cast<double>(*microwatts) * 1e-6;
                       }});
    } else if (read_integer(volts) && read_integer(amperes)) {
      rails.push_back({name, [volts, amperes]() -> std::optional<double> {
                         const auto mv = read_integer(volts), ma = read_integer(amperes);
                         if (!mv || !ma) return std::nullopt;
                         return static_cast<double>(*mv) * static_cast<double>(*ma) * 1e-6;
                       }});
    }
  }
  return rails;
}

// The board's input feeds the other rails: where it is measured, it is the total.
bool is_board_input(const std::string& name) {
  return name == "VDD_IN" || name == "POM_5V_IN" || name == "VIN";
}

std::vector<PowerRail> hwmon_rails(const fs::path& sysfs, double& update_interval_s) {
  constexpr std::string_view monitors[] = {"ina3221", "ina219", "ina226", "ina238", "power_meter"};
  std::vector<PowerRail> rails;
  update_interval_s = 0;
  for (const fs::path& monitor : entries(sysfs / "class/hwmon", "hwmon")) {
    const std::string name = read_line(monitor / "name");
    if (std::find(std::begin(monitors), std::end(monitors), name) == std::end(monitors)) continue;
    std::vector<PowerRail> found = rails_of(monitor);
    if (found.empty()) continue;
    // Milliseconds; the ACPI meter averages over an interval of its own.
    auto interval_ms = read_integer(monitor / "update_interval");
    if (!interval_ms) interval_ms = read_integer(monitor / "power1_average_interval");
    update_interval_s =
        std::max(update_interval_s, static_cast<double>(interval_ms.value_or(100)) * 1e-3);
    std::move(found.begin(), found.end(), std::back_inserter(rails));
  }
  const auto input = std::find_if(rails.begin(), rails.end(),
                                  [](const PowerRail& rail) { return is_board_input(rail.name); });
  if (input != rails.end()) {
    PowerRail total = std::move(*input);
    rails.clear();
    rails.push_back(std::move(total));
  }
  return rails;
}

}  // namespace

PowerSensor::PowerSensor(std::vector<EnergyCounter> counters, std::vector<PowerRail> rails,
                         double update_interval_s, std::function<double()> now_s)
    : counters_(std::move(counters)),
      rails_(std::move(rails)),
      update_interval_s_(std::max(update_interval_s, 1e-3)),
      now_s_(std::move(now_s)) {}

PowerSensor::~PowerSensor() {
  if (running_) stop();
}

std::string PowerSensor::name() const {
  std::vector<std::string> names;
  for (const EnergyCounter& counter : counters_) names.push_back(counter.name);
  for (const PowerRail& rail : rails_) names.push_back(rail.name);
  return fmt::format("{}", fmt::join(names, " + "));
}

void PowerSensor::advance() {
  const double now = now_s_();
  for (size_t i = 0; i < counters_.size(); ++i) {
    const auto uj = counters_[i].read_uj();
    if (!uj) {
      failed_ = true;
      return;
    }
    int64_t spent_uj = *uj - last_uj_[i];
    if (spent_uj < 0) spent_uj += counters_[i].range_uj;
    failed_ = failed_ || spent_uj < 0;
    energy_j_ += static_cast<double>(spent_uj) * 1e-6;
    last_uj_[i] = *uj;
  }
  double watts = 0;
  for (const PowerRail& rail : rails_) {
    const auto w = rail.read_w();
    if (!w) {
      failed_ = true;
      return;
    }
    watts += *w;
  }
  energy_j_ += 0.5 * (watts + last_w_) * (now - last_s_);
  last_w_ = watts;
  last_s_ = now;
}

void PowerSensor::start() {
  if (running_) stop();
  last_uj_.clear();
  failed_ = false;
  for (const EnergyCounter& counter : counters_) {
    const auto uj = counter.read_uj();
    failed_ = failed_ || !uj;
    last_uj_.push_back(uj.value_or(0));
  }
  start_s_ = last_s_ = now_s_();
  advance();  // the rails' first reading
  energy_j_ = 0;
  running_ = true;
  sampler_ = std::thread([this] { sample_until_stopped(); });
}

void PowerSensor::sample_until_stopped() {
  double period_s = update_interval_s_;
  if (rails_.empty()) {
    period_s = 60;
    for (const EnergyCounter& counter : counters_)
      if (counter.range_uj > 0)
        period_s =
            std::min(period_s, 0.5 * static_cast<double>(counter.range_uj) * 1e-6 / most_power_w);
  }
  std::unique_lock lock(mutex_);
  while (
      !wake_.wait_for(lock, std::chrono::duration<double>(period_s), [this] { return !running_; }))
    if (!failed_) advance();
}

std::optional<PowerSensor::Window> PowerSensor::stop() {
  {
    const std::lock_guard lock(mutex_);
    if (!failed_) advance();
    running_ = false;
  }
  wake_.notify_one();
  sampler_.join();
  if (failed_) return std::nullopt;
  return Window{energy_j_, last_s_ - start_s_};
}

FoundSensor find_power_sensor(const fs::path& sysfs, std::function<double()> now_s) {
  std::string reason;
  std::vector<EnergyCounter> counters = rapl_counters(sysfs, reason);
  if (!counters.empty())
    // RAPL counters move about every millisecond.
    return {std::make_unique<PowerSensor>(std::move(counters), std::vector<PowerRail>{}, 1e-3,
                                          std::move(now_s)),
            {}};
  double update_interval_s = 0;
  std::vector<PowerRail> rails = hwmon_rails(sysfs, update_interval_s);
  if (!rails.empty())
    return {std::make_unique<PowerSensor>(std::vector<EnergyCounter>{}, std::move(rails),
                                          update_interval_s, std::move(now_s)),
            {}};
  return {nullptr, fmt::format("not available: {}; no power monitor in {}", reason,
                               (sysfs / "class/hwmon").string())};
}

std::optional<double> idle_power_w(PowerSensor& sensor, double window_s) {
  sensor.start();
  std::this_thread::sleep_for(
      std::chrono::duration<double>(std::max(window_s, sensor.min_window_s())));
  const auto window = sensor.stop();
  if (!window || !(window->length_s > 0)) return std::nullopt;
  return window->energy_j / window->length_s;
}

std::optional<Energy> energy_per_pass(PowerSensor& sensor, std::optional<double> idle_w,
                                      double window_s, const std::function<void()>& pass,
                                      double pass_s, const std::function<double()>& now_s) {
  window_s = std::max(window_s, sensor.min_window_s());
  // A sensor tells of what was up to an update ago, which at the start shall be such passes, too.
  const auto repeat_for = [&](double least_s) {
    const double start_s = now_s();
    int64_t passes = 0;
    do {
      pass();
      ++passes;
    } while (now_s() - start_s < least_s);
    return passes;
  };
  if (pass_s < window_s) repeat_for(2 * sensor.update_interval_s());
  sensor.start();
  const int64_t passes = repeat_for(window_s);
  const auto window = sensor.stop();
  if (!window) return std::nullopt;
  Energy energy{.total_j = window->energy_j / static_cast<double>(passes),
                .pass_s = window->length_s / static_cast<double>(passes),
                .baseline_j = std::nullopt,
                .window_s = window->length_s,
                .sensor = sensor.name()};
  if (idle_w) energy.baseline_j = *idle_w * window->length_s / static_cast<double>(passes);
  return energy;
}

}  // namespace tidemark
