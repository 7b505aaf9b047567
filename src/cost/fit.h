// From timed kernels to a device profile: peaks, efficiency curves, and how wrong they are.
#pragma once

#include <span>

#include "cost/work.h"
#include "device/profile.h"

namespace tidemark {

struct KernelSample {
  Work work;
  double time_s = 0;  // of one call, launch included
};

// The resource a kernel class is fitted by; the other is left unbounded, but for products, whose
// bandwidth is that of products of few rows.
bool fitted_by_compute(KernelClass);

// log-log piecewise curve through medians over bins of half a decade of the seconds at the peak,
// smoothed where more work would take less time.
// `x` and `share` of each sample, equally long and not empty.
Curve fit_curve(std::span<const double> x, std::span<const double> share);

// Median and 90th percentile of |predicted / measured - 1| when each sample is predicted by a curve
// fitted to the others.
struct FitError {
  double median = 0, p90 = 0;
  size_t samples = 0;
};
FitError leave_one_out(std::span<const double> x, std::span<const double> share);

// Fills peaks, bandwidth, launch cost and the efficiency of every class that has samples; what has
// none stays as it is. Peaks are the best that was reached, but for outliers. Needs GEMMs of f32
// and of many and few rows.
void fit_profile(DeviceProfile&, std::span<const KernelSample>);

}  // namespace tidemark
