// Energy from the sensors a machine has: counters where there are any (RAPL through the powercap
// interface), else rails of power monitors (hwmon: the INA3221 of Jetson boards, power meters),
// sampled and integrated.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "record/record.h"

namespace tidemark {

// Joules spent so far, in microjoules; begins again at 0 after range_uj (0: never).
struct EnergyCounter {
  std::string name{};
  std::function<std::optional<int64_t>()> read_uj{};
  int64_t range_uj = 0;
};

// Watts drawn now.
struct PowerRail {
  std::string name{};
  std::function<std::optional<double>()> read_w{};
};

// Measures between start() and stop(). A thread reads the rails at every update of the sensor; it
// reads counters only often enough to see each wrap at 1 kW, which is to say every minute or so.
class PowerSensor {
 public:
  PowerSensor(std::vector<EnergyCounter>, std::vector<PowerRail>, double update_interval_s,
              std::function<double()> now_s);
  ~PowerSensor();
  PowerSensor(const PowerSensor&) = delete;
  PowerSensor& operator=(const PowerSensor&) = delete;

  std::string name() const;  // "package-0 + dram-0"
  double update_interval_s() const { return update_interval_s_; }
  // The shortest window worth measuring: 20 updates, so that the two ends are wrong by 5 % at most.
  double min_window_s() const { return 20 * update_interval_s_; }

  void start();
  struct Window {
    double energy_j = 0;
    double length_s = 0;
  };
  // nullopt: a reading failed.
  std::optional<Window> stop();

 private:
  void advance();  // adds what was spent since the last call
  void sample_until_stopped();

  std::vector<EnergyCounter> counters_;
  std::vector<PowerRail> rails_;
  double update_interval_s_;
  std::function<double()> now_s_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  bool running_ = false, failed_ = false;
  std::vector<int64_t> last_uj_;
  double last_w_ = 0, last_s_ = 0, start_s_ = 0, energy_j_ = 0;
  std::thread sampler_;
};

// Either a sensor or why there is none, in words for people.
struct FoundSensor {
  std::unique_ptr<PowerSensor> sensor;
  std::string reason;
};
FoundSensor find_power_sensor(const std::filesystem::path& sysfs, std::function<double()> now_s);

// Mean power while the caller does nothing for `window_s` (at least the sensor's min_window_s).
std::optional<double> idle_power_w(PowerSensor&, double window_s);

// Energy of one `pass`, which is repeated until the window is long enough for the sensor and at
// least `window_s`; before that for two updates of the sensor, uncounted, where a pass, which takes
// about `pass_s`, is shorter than the window. The idle machine's part is told apart in
// baseline_j when `idle_w` is known.
std::optional<Energy> energy_per_pass(PowerSensor&, std::optional<double> idle_w, double window_s,
                                      const std::function<void()>& pass, double pass_s,
                                      const std::function<double()>& now_s);

}  // namespace tidemark
