#include "cost/fit.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/quantile.h"
#include "cost/roofline.h"

namespace tidemark {
namespace {

double quantile(std::vector<double> values, double p) {
  std::ranges::sort(values);
  return quantile_of_sorted(values, p);
}

// Seconds beyond the launch; a kernel that is hardly more than its launch says little of the rest.
double kernel_time(const KernelSample& s, double launch_s) {
  return std::max(s.time_s - launch_s, s.time_s / 4);
}

Quantity measured(double value, std::string_view how) {
  return {value, fmt::format("tidemark calibrate: {}", how)};
}

void fit_peaks(DeviceProfile& profile, std::span<const KernelSample> samples) {
  std::map<DType, std::vector<double>> rates;
  double bandwidth = 0, launch_s = 1, largest = 0;
  for (const KernelSample& s : samples)
    if (s.work.kind == KernelClass::gemv) largest = std::max(largest, s.work.bytes());
  for (const KernelSample& s : samples) {
    launch_s = std::min(launch_s, s.time_s);
    if (s.work.kind == KernelClass::gemm || s.work.kind == KernelClass::gemm_f32)
      rates[s.work.dtype].push_back(s.work.matrix_ops / s.time_s);
    // Small ones a cache may hold in part, and what is taken off for the clock weighs more.
    if (s.work.kind == KernelClass::gemv && s.work.bytes() >= largest / 4)
      bandwidth = std::max(bandwidth, s.work.bytes() / s.time_s);
  }
  // Of many the best 2 % are left out: what is taken off for the clock can leave too little.
  std::map<DType, double> matrix;
  for (const auto& [dtype, found] : rates) matrix[dtype] = quantile(found, 0.98);
  if (!matrix.contains(DType::f32)) fail("calibration: expected GEMMs in f32, found none");
  if (bandwidth == 0) fail("calibration: expected products of few rows, found none");
  for (const auto& [dtype, rate] : matrix)
    profile.matrix_ops_per_s[dtype] = measured(rate, "the fastest GEMM");
  profile.vector_ops_per_s = measured(matrix[DType::f32], "the fastest GEMM in f32");
  profile.special_ops_per_s =
      measured(matrix[DType::f32] / 16, "a sixteenth of the f32 peak, by convention");
  profile.bandwidth_bytes_per_s =
      measured(bandwidth, "the fastest large stream of weights, by a product of few rows");
  profile.launch_s = measured(launch_s, "the shortest operator");
}

}  // namespace

bool fitted_by_compute(KernelClass c) {
  return c == KernelClass::gemm || c == KernelClass::gemm_f32 || c == KernelClass::attention ||
         c == KernelClass::masked_attention || c == KernelClass::selective_scan ||
         c == KernelClass::ssd;
}

namespace {

// Where a curve is steeper than its work grows, more work would take less time. Neighbours that do
// so are noise about one time: they get its geometric mean (pool adjacent violators), each counting
// the same.
void keep_time_from_falling(Curve& curve) {
  struct Pool {
    double log_time = 0;  // summed over its points
    int points = 0;
    double mean() const { return log_time / points; }
  };
  std::vector<Pool> pools;
  for (const CurvePoint& p : curve.points) {
    pools.push_back({std::log(p.x / p.y), 1});
    while (pools.size() > 1 && pools.back().mean() < pools[pools.size() - 2].mean()) {
      const Pool last = pools.back();
      pools.pop_back();
      pools.back().log_time += last.log_time;
      pools.back().points += last.points;
    }
  }
  size_t i = 0;
  for (const Pool& pool : pools)
    for (int n = 0; n < pool.points; ++n, ++i)
      if (pool.points > 1) curve.points[i].y = curve.points[i].x / std::exp(pool.mean());
}

}  // namespace

Curve fit_curve(std::span<const double> x, std::span<const double> share) {
  std::map<int, std::pair<std::vector<double>, std::vector<double>>> bins;
  for (size_t i = 0; i < x.size(); ++i) {
    auto& [xs, shares] = bins[static_cast<int>(std::floor(2 * std::log10(x[i])))];
    xs.push_back(x[i]);
    shares.push_back(share[i]);
  }
  Curve curve;
  for (const auto& [bin, values] : bins)
    curve.points.push_back({median(values.first), median(values.second)});
  keep_time_from_falling(curve);
  return curve;
}

FitError leave_one_out(std::span<const double> x, std::span<const double> share) {
  if (x.size() < 2) return {.samples = x.size()};
  std::vector<double> errors;
  for (size_t left = 0; left < x.size(); ++left) {
    std::vector<double> other_x, other_share;
    for (size_t i = 0; i < x.size(); ++i) {
      if (i == left) continue;
      other_x.push_back(x[i]);
      other_share.push_back(share[i]);
    }
    // Times are x over share, so the ratio of times is that of shares turned round.
    errors.push_back(std::abs(share[left] / fit_curve(other_x, other_share).at(x[left]) - 1));
  }
  return {median(errors), quantile(errors, 0.9), x.size()};
}

void fit_profile(DeviceProfile& profile, std::span<const KernelSample> samples) {
  fit_peaks(profile, samples);
  for (int i = 0; i < kernel_class_count; ++i) {
    const auto kind = static_cast<KernelClass>(i);
    std::vector<double> x, share;
    for (const KernelSample& s : samples) {
      if (s.work.kind != kind) continue;
      const double at_peak =
          fitted_by_compute(kind) ? peak_time(s.work, profile) : moving_time(s.work, profile);
      if (!(at_peak > 0)) continue;
      x.push_back(at_peak);
      share.push_back(at_peak / kernel_time(s, profile.launch_s.value));
    }
    if (x.empty()) continue;
    const FitError error = leave_one_out(x, share);
    Efficiency& e = profile.of(kind);
    constexpr double unbounded = 1e6;
    e = {.error = error.p90,
         .source = fmt::format("tidemark calibrate: {} samples, left out one by one predicted with "
                               "a median error of {:.1f} %, 90 % of them within {:.1f} %",
                               error.samples, 100 * error.median, 100 * error.p90)};
    (fitted_by_compute(kind) ? e.compute : e.bandwidth) = fit_curve(x, share);
    (fitted_by_compute(kind) ? e.bandwidth : e.compute) = constant_curve(unbounded);
  }
  // Products of a few rows more read their weights no faster.
  for (const KernelClass kind : {KernelClass::gemm, KernelClass::gemm_f32})
    profile.of(kind).bandwidth = profile.of(KernelClass::gemv).bandwidth;
}

}  // namespace tidemark
