#include "backend/nvml.h"

#include <array>
#include <utility>

#include "backend/resolve.h"

namespace tidemark {
namespace {

using Device = void*;
constexpr int success = 0;
enum ClockType : int { sm_clock = 1, memory_clock = 2 };
enum Policy : int { by_power = 0, by_temperature = 1 };
struct ViolationTime {
  unsigned long long reference_us = 0, violation_ns = 0;
};

}  // namespace

// Functions by the names they have in libnvidia-ml.so.1; one that is missing stays null.
struct GpuSensors::Library {
  void* file = nullptr;
  Device device = nullptr;
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*driver_version)(char*, unsigned int) = nullptr;
  int (*by_bus_id)(const char*, Device*) = nullptr;
  int (*energy_mj)(Device, unsigned long long*) = nullptr;
  int (*power_mw)(Device, unsigned int*) = nullptr;
  int (*power_limit_mw)(Device, unsigned int*) = nullptr;
  int (*clock_mhz)(Device, int, unsigned int*) = nullptr;
  int (*max_clock_mhz)(Device, int, unsigned int*) = nullptr;
  int (*temperature_c)(Device, int, unsigned int*) = nullptr;
  int (*throttle)(Device, unsigned long long*) = nullptr;
  int (*violations)(Device, int, ViolationTime*) = nullptr;

  ~Library() {
    if (device && shutdown) shutdown();
    if (file) dlclose(file);
  }
};

std::vector<std::string> throttle_reasons(uint64_t throttle_bits) {
  constexpr std::array<std::pair<uint64_t, const char*>, 6> names = {{{0x4, "sw_power_cap"},
                                                                      {0x8, "hw_slowdown"},
                                                                      {0x20, "sw_thermal_slowdown"},
                                                                      {0x40, "hw_thermal_slowdown"},
                                                                      {0x80, "hw_power_brake"},
                                                                      {0x10, "sync_boost"}}};
  std::vector<std::string> reasons;
  for (const auto& [bit, reason] : names)
    if (throttle_bits & bit) reasons.emplace_back(reason);
  return reasons;
}

GpuSensors::GpuSensors(const std::string& pci_bus_id) {
  auto library = std::make_unique<Library>();
  Library& l = *library;
  l.file = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!l.file) {
    why_not_ = "libnvidia-ml.so.1 is not there";
    return;
  }
  resolve(l.file, "nvmlInit_v2", l.init);
  resolve(l.file, "nvmlShutdown", l.shutdown);
  resolve(l.file, "nvmlSystemGetDriverVersion", l.driver_version);
  resolve(l.file, "nvmlDeviceGetHandleByPciBusId_v2", l.by_bus_id);
  resolve(l.file, "nvmlDeviceGetTotalEnergyConsumption", l.energy_mj);
  resolve(l.file, "nvmlDeviceGetPowerUsage", l.power_mw);
  resolve(l.file, "nvmlDeviceGetEnforcedPowerLimit", l.power_limit_mw);
  resolve(l.file, "nvmlDeviceGetClockInfo", l.clock_mhz);
  resolve(l.file, "nvmlDeviceGetMaxClockInfo", l.max_clock_mhz);
  resolve(l.file, "nvmlDeviceGetTemperature", l.temperature_c);
  resolve(l.file, "nvmlDeviceGetViolationStatus", l.violations);
  resolve(l.file, "nvmlDeviceGetCurrentClocksEventReasons", l.throttle);
  if (!l.throttle) resolve(l.file, "nvmlDeviceGetCurrentClocksThrottleReasons", l.throttle);
  if (!l.init || !l.by_bus_id || l.init() != success) {
    why_not_ = "NVML does not start";
    return;
  }
  if (l.by_bus_id(pci_bus_id.c_str(), &l.device) != success) {
    l.device = nullptr;
    why_not_ = "NVML does not know the device at " + pci_bus_id;
    return;
  }
  library_ = std::move(library);
}

GpuSensors::~GpuSensors() = default;

std::optional<GpuState> GpuSensors::read() const {
  if (!library_) return std::nullopt;
  const Library& l = *library_;
  GpuState state;
  unsigned long long wide = 0;
  unsigned int number = 0;
  if (l.energy_mj && l.energy_mj(l.device, &wide) == success)
    state.energy_j = static_cast<double>(wide) * 1e-3;
  if (l.throttle && l.throttle(l.device, &wide) == success) state.throttle_bits = wide;
  if (l.power_mw && l.power_mw(l.device, &number) == success) state.power_w = number * 1e-3;
  if (l.power_limit_mw && l.power_limit_mw(l.device, &number) == success)
    state.power_cap_w = number * 1e-3;
  const auto clock = [&](auto function, ClockType type) {
    return function && function(l.device, type, &number) == success ? static_cast<int>(number) : 0;
  };
  state.sm_clock_mhz = clock(l.clock_mhz, sm_clock);
  state.memory_clock_mhz = clock(l.clock_mhz, memory_clock);
  state.max_sm_clock_mhz = clock(l.max_clock_mhz, sm_clock);
  const auto held_s = [&](Policy policy) {
    ViolationTime time;
    return l.violations && l.violations(l.device, policy, &time) == success
               ? static_cast<double>(time.violation_ns) * 1e-9
               : 0;
  };
  state.held_by_power_s = held_s(by_power);
  state.held_by_temperature_s = held_s(by_temperature);
  if (l.temperature_c && l.temperature_c(l.device, 0, &number) == success)
    state.temperature_c = static_cast<int>(number);
  return state;
}

std::string GpuSensors::driver_version() const {
  std::array<char, 80> text{};
  if (!library_ || !library_->driver_version ||
      library_->driver_version(text.data(), static_cast<unsigned int>(text.size())) != success)
    return "unknown";
  return text.data();
}

}  // namespace tidemark
