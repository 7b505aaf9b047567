// What the time of a pass is made of, seen from a device with a clock of its own.
#pragma once

namespace tidemark {

struct DeviceTime {
  double busy_s = 0;
  double host_dispatch_s = 0;  // nothing running, the host still launching
  double idle_s = 0;           // neither
  DeviceTime& operator+=(const DeviceTime& other) {
    busy_s += other.busy_s;
    host_dispatch_s += other.host_dispatch_s;
    idle_s += other.idle_s;
    return *this;
  }
  bool operator==(const DeviceTime&) const = default;
};

}  // namespace tidemark
