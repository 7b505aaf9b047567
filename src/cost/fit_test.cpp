#include "cost/fit.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace tidemark {
namespace {

TEST(Fit, ACurveGoesThroughTheMediansOfItsBins) {
  const std::vector<double> x = {1e-6, 1.2e-6, 1.1e-6, 1e-4}, share = {0.1, 0.3, 0.2, 0.8};
  const Curve curve = fit_curve(x, share);
  ASSERT_EQ(curve.points.size(), 2U);
  EXPECT_DOUBLE_EQ(curve.points[0].x, 1.1e-6);
  EXPECT_DOUBLE_EQ(curve.points[0].y, 0.2);
  EXPECT_DOUBLE_EQ(curve.points[1].y, 0.8);
}

// What more work would take less time for is noise: 10, 8 and 6 us become what they are in the
// geometric mean, as does nothing before or after.
TEST(Fit, MoreWorkTakesNoLessTime) {
  const std::vector<double> x = {1e-7, 1e-6, 4e-6, 1.2e-5, 1e-4};
  const std::vector<double> times = {5e-6, 1e-5, 8e-6, 6e-6, 2e-4};
  std::vector<double> share;
  for (size_t i = 0; i < x.size(); ++i) share.push_back(x[i] / times[i]);
  const Curve curve = fit_curve(x, share);
  ASSERT_EQ(curve.points.size(), x.size());
  const double pooled = std::cbrt(1e-5 * 8e-6 * 6e-6);
  const double expected[] = {5e-6, pooled, pooled, pooled, 2e-4};
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_DOUBLE_EQ(curve.points[i].x, x[i]);
    EXPECT_NEAR(x[i] / curve.points[i].y, expected[i], 1e-12) << i;
  }
}

TEST(Fit, LeavingOneOutSeesWhatTheFitItselfCannot) {
  // Each of three in one bin is predicted by the median of the other two.
  const std::vector<double> x = {1e-6, 1e-6, 1e-6}, share = {0.2, 0.4, 0.4};
  const FitError error = leave_one_out(x, share);
  EXPECT_EQ(error.samples, 3U);
  // 0.2 against 0.4: half off; 0.4 against 0.3, the median of 0.2 and 0.4: a third off.
  EXPECT_NEAR(error.median, 1.0 / 3, 1e-12);
  EXPECT_NEAR(error.p90, 1.0 / 3 + 0.8 * (0.5 - 1.0 / 3), 1e-12);
}

TEST(Fit, FindsTheDeviceThatMadeTheSamples) {
  // 2 TFLOP/s bf16, 1 TFLOP/s f32, 10 GB/s, 1 us a launch.
  std::vector<KernelSample> samples;
  const auto gemm = [&](DType dtype, double ops, double rate) {
    samples.push_back({{.kind = dtype == DType::f32 ? KernelClass::gemm_f32 : KernelClass::gemm,
                        .dtype = dtype,
                        .matrix_ops = ops},
                       ops / rate});
  };
  gemm(DType::f32, 1e10, 1e12);
  gemm(DType::bf16, 1e10, 2e12);
  gemm(DType::bf16, 1e7, 1e12);  // small: half the peak
  samples.push_back({{.kind = KernelClass::gemv, .cold_bytes = 1e9}, 0.1});
  samples.push_back({{.kind = KernelClass::stream, .warm_bytes = 64}, 1e-6});
  DeviceProfile profile = load_profile("epyc-9654");
  profile.cache_bytes.reset();
  fit_profile(profile, samples);
  EXPECT_NEAR(profile.matrix_peak(DType::bf16), 2e12, 0.02 * 1e12);
  EXPECT_DOUBLE_EQ(profile.matrix_peak(DType::f32), 1e12);
  EXPECT_DOUBLE_EQ(profile.bandwidth_bytes_per_s.value, 1e10);
  EXPECT_DOUBLE_EQ(profile.launch_s.value, 1e-6);
  EXPECT_NEAR(profile.of(KernelClass::gemm).compute.at(5e-3), 1, 0.02);
  // 5 us at the peak in the 9 that are left without the launch
  EXPECT_NEAR(profile.of(KernelClass::gemm).compute.at(5e-6), 5.0 / 9, 0.01);
  EXPECT_EQ(profile.of(KernelClass::gemm).bandwidth, profile.of(KernelClass::gemv).bandwidth);
  EXPECT_EQ(profile.of(KernelClass::ssd).source,
            load_profile("epyc-9654").of(KernelClass::ssd).source);
}

TEST(Fit, WantsSamplesForThePeaks) {
  DeviceProfile profile = load_profile("epyc-9654");
  EXPECT_THROW(fit_profile(profile, {}), Error);
}

}  // namespace
}  // namespace tidemark
