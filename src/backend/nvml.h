// What the card itself says: energy, clocks, temperature, power, and why it holds its clocks back.
// NVML is part of the driver; it is loaded at run time and its few functions are declared here, so
// that building needs nothing of it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace tidemark {

struct GpuState {
  double energy_j = 0;  // since the driver was loaded, by the card's own counter
  double power_w = 0, power_cap_w = 0;
  double held_by_power_s = 0, held_by_temperature_s = 0;  // below its clocks, since the same
  int sm_clock_mhz = 0, memory_clock_mhz = 0, max_sm_clock_mhz = 0;
  int temperature_c = 0;
  uint64_t throttle_bits = 0;
};
// "sw_power_cap", "hw_thermal_slowdown", ...; idling and chosen clocks are no throttling and left
// out.
std::vector<std::string> throttle_reasons(uint64_t throttle_bits);

class GpuSensors {
 public:
  // `pci_bus_id` as CUDA gives it: "0000:81:00.0".
  explicit GpuSensors(const std::string& pci_bus_id);
  ~GpuSensors();
  GpuSensors(const GpuSensors&) = delete;
  GpuSensors& operator=(const GpuSensors&) = delete;

  // Fields that the card does not report stay 0. nullopt: no NVML, or it does not know the device.
  std::optional<GpuState> read() const;
  std::string driver_version() const;  // "580.159.04", or "unknown"
  const std::string& why_not() const { return why_not_; }

 private:
  struct Library;
  std::unique_ptr<Library> library_;
  std::string why_not_;
};

}  // namespace tidemark
