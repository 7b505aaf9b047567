// What no profile measured on a device may promise, for any model: its curves are fitted to a few
// kernels, and used for all.
#include <gtest/gtest.h>

#include "cost/predict.h"
#include "model/load.h"

namespace tidemark {
namespace {

std::vector<DeviceProfile> calibrated_profiles() {
  std::vector<DeviceProfile> found;
  for (const std::string& name : profile_names()) {
    DeviceProfile profile = load_profile(name);
    if (profile.origin == Origin::calibrated) found.push_back(std::move(profile));
  }
  return found;
}

Plan plan_of(const ModelSpec& spec, int64_t batch) {
  return build_plan(
      spec, {.batch = batch, .context = 64, .new_tokens = 2, .chunk = 64, .dtype = DType::bf16});
}

void expect_no_faster_than_memory(const Plan& plan, const PassPrediction& pass,
                                  const DeviceProfile& profile) {
  for (size_t i = 0; i < pass.rows.size(); ++i) {
    const double cold_bytes = work(pass.nodes[i]->op, plan).cold_bytes;
    if (cold_bytes < 100e6) continue;
    EXPECT_LE(cold_bytes / pass.rows[i].time_s, profile.bandwidth_bytes_per_s.value * (1 + 1e-9))
        << fmt::format("{}, batch {}, on {}: {} of {:.0f} MB", plan.model, plan.workload.batch,
                       profile.name, name(pass.nodes[i]->op), cold_bytes / 1e6);
  }
}

TEST(Calibrated, NothingComesFasterFromMemoryThanItCanDeliver) {
  for (const DeviceProfile& profile : calibrated_profiles())
    for (const Preset& preset : presets())
      for (const int64_t batch : {1, 17, 24, 160}) {
        Plan plan = plan_of(load_spec(std::string(preset.name)), batch);
        expect_no_faster_than_memory(plan, predict_prefill(plan, profile), profile);
        const PassPrediction decode = predict_decode(plan, profile, 0, 0);
        // Of the operators, work() reads the position they were last at.
        set_past(plan.step(StepKind::decode), plan.prompt());
        expect_no_faster_than_memory(plan, decode, profile);
      }
}

// But in the H200's streams of some KB, whose two medians at 8 and 24 KB wait for another
// calibration: one time for both, without the number of their samples, made its predictions worse.
TEST(Calibrated, MoreWorkTakesNoLessTime) {
  for (const std::string& name : profile_names()) {
    const DeviceProfile profile = load_profile(name);
    for (int i = 0; i < kernel_class_count; ++i) {
      const auto kernels = static_cast<KernelClass>(i);
      for (const Curve* curve : {&profile.of(kernels).compute, &profile.of(kernels).bandwidth}) {
        double before_s = 0;
        for (const CurvePoint& p : curve->points) {
          if (name == "h200-calibrated" && kernels == KernelClass::stream && p.x < 1e-8) continue;
          EXPECT_GE(p.x / p.y, before_s * (1 - 1e-9))
              << name << " " << tidemark::name(kernels) << " at " << p.x;
          before_s = p.x / p.y;
        }
      }
    }
  }
}

TEST(Calibrated, ProductsRunNoFasterThanTheirPeak) {
  for (const DeviceProfile& profile : calibrated_profiles())
    for (const Preset& preset : presets())
      for (const int64_t batch : {1, 24}) {
        const Plan plan =
            build_plan(load_spec(std::string(preset.name)),
                       {.batch = batch, .context = 1024, .chunk = 1024, .dtype = DType::bf16});
        for (const Node& node : plan.step(StepKind::tail).nodes) {
          const Work w = work(node.op, plan);
          EXPECT_LE(w.matrix_ops / time_of(w, profile).time_s(),
                    profile.matrix_peak(w.dtype) * (1 + 1e-9))
              << preset.name << " on " << profile.name << ": " << name(node.op);
        }
      }
}

TEST(Calibrated, AStepOfMoreSequencesTakesNoLess) {
  for (const DeviceProfile& profile : calibrated_profiles())
    for (const Preset& preset : presets()) {
      const ModelSpec spec = load_spec(std::string(preset.name));
      double before_s = 0;
      for (const int64_t batch : {1, 2, 4, 8, 16, 17, 24, 32, 64, 96, 128, 129, 160, 256}) {
        const double s = predict_decode(plan_of(spec, batch), profile, 0, 0).wall_s;
        EXPECT_GE(s, before_s * 0.98)  // curves through measurements may dip a little
            << fmt::format("{} on {}: batch {}", preset.name, profile.name, batch);
        before_s = s;
      }
    }
}

}  // namespace
}  // namespace tidemark
