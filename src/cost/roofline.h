// The roofline of one kernel: how long its work takes on a device.
// Williams, Waterman, Patterson, CACM 52(4), 2009; efficiencies and launch cost as in
// docs/prediction.md.
#pragma once

#include <algorithm>
#include <array>

#include "cost/work.h"
#include "record/record.h"

namespace tidemark {

// What a prediction may be asked to change: a class of kernels, or a resource, `factor` times as
// fast (or large).
struct Scales {
  std::array<double, kernel_class_count> kernels;
  double compute = 1, bandwidth = 1, launch = 1;
  Scales() { kernels.fill(1); }
};

struct Timing {
  double compute_s = 0, bandwidth_s = 0, launch_s = 0;
  double error = 0;  // the true time lies within a factor of 1 + error
  double time_s() const { return std::max(compute_s, bandwidth_s) + launch_s; }
  double low_s() const { return time_s() / (1 + error); }
  double high_s() const { return time_s() * (1 + error); }
  Bound bound() const;  // what takes longest
};

// Seconds at the peaks of the units it needs, one after the other, on as many multiprocessors as it
// has blocks for.
double peak_time(const Work&, const DeviceProfile&);
// Seconds at the peak bandwidths. Warm bytes come from the cache as far as half of it holds them.
double moving_time(const Work&, const DeviceProfile&);

// Where weights, caches and states lie when a kernel reads them again, a step later.
enum class Cold { in_memory, in_cache };

// max(peak_time / share, moving_time / share) + launch, and no less than memory takes to deliver
// what is cold there, nor than matrix products take at their peak.
Timing time_of(const Work&, const DeviceProfile&, const Scales& = {}, Cold = Cold::in_memory);

// Watts drawn while `bound` limits: idle power and a share of what is between it and board power.
// 0 when the profile has no board power.
double power_w(Bound, const DeviceProfile&);

}  // namespace tidemark
