// Against numbers worked out by hand on a device of round numbers.
#include "cost/roofline.h"

#include <gtest/gtest.h>

#include <limits>

#include "cost/predict.h"
#include "cost/work.h"
#include "model/load.h"

namespace tidemark {
namespace {

// 1 TFLOP/s matrix, 100 GFLOP/s vector, 10 GB/s, 1 us a launch, every efficiency 1/2.
DeviceProfile round_device() {
  DeviceProfile p;
  p.name = "round";
  p.matrix_ops_per_s[DType::f32] = {1e11, ""};
  p.matrix_ops_per_s[DType::bf16] = {1e12, ""};
  p.vector_ops_per_s = {1e11, ""};
  p.special_ops_per_s = {1e10, ""};
  p.memory_bytes = {1e12, ""};
  p.bandwidth_bytes_per_s = {1e10, ""};
  p.launch_s = {1e-6, ""};
  p.board_w = {300, ""};
  p.idle_w = {100, ""};
  p.bandwidth_power = 0.5;
  p.launch_power = 0;
  for (Efficiency& e : p.efficiency)
    e = {.compute = constant_curve(0.5), .bandwidth = constant_curve(0.5), .error = 0.25};
  return p;
}

TEST(Work, EightBitWeightsComeFromMemoryAndMeetTheirActivations) {
  const ModelSpec spec = load_spec("qwen2.5-0.5b");
  const auto head = [&](DType dtype) {
    const Plan plan = build_plan(spec, {.context = 64, .dtype = dtype});
    for (const Node& node : plan.step(StepKind::tail).nodes)
      if (node.role == Role::lm_head) return work(node.op, plan);
    return Work{};
  };
  constexpr double weights = 151936.0 * 896;
  const Work a16 = head(DType::w8a16), a8 = head(DType::w8a8);
  EXPECT_EQ(a16.dtype, DType::bf16) << "widened for activations of 16 bits";
  EXPECT_EQ(a8.dtype, DType::i8);
  EXPECT_DOUBLE_EQ(a16.cold_bytes, weights * (1 + 2.0 / 32));
  EXPECT_DOUBLE_EQ(a8.cold_bytes, weights * (1 + 2.0 / 896));
  EXPECT_EQ(a16.matrix_ops, 2 * weights);
  EXPECT_EQ(a8.matrix_ops, 2 * weights);
}

// A block of queries more than whole ones is no faster way to fill the device.
TEST(Work, AttentionOfOneTokenMoreTakesNoLess) {
  for (const char* device : {"h200", "rtx4090", "h200-calibrated"})
    for (const char* model : {"gpt-neo-125m", "qwen2.5-0.5b", "phi-3-mini-4k"}) {
      const ModelSpec spec = load_spec(model);
      const DeviceProfile profile = load_profile(device);
      double before_s = 0;
      for (int64_t context = 2; context <= 1030; ++context) {
        const Plan plan =
            build_plan(spec, {.context = context, .chunk = context, .dtype = DType::bf16});
        double s = 0;
        for (const Node& node : plan.step(StepKind::tail).nodes)
          if (std::holds_alternative<Attention>(node.op))
            s += time_of(work(node.op, plan), profile).time_s();
        EXPECT_GE(s, before_s * (1 - 1e-9)) << model << " on " << device << ": " << context;
        before_s = s;
      }
    }
}

TEST(Roofline, TakesTheSlowerOfComputeAndBandwidth) {
  const DeviceProfile p = round_device();
  // 1e9 matrix operations at 0.5e12/s: 2 ms; 5e6 bytes at 5e9/s: 1 ms.
  const Timing compute = time_of({KernelClass::gemm, DType::bf16, 1e9, 0, 0, 5e6, 0, 0}, p);
  EXPECT_DOUBLE_EQ(compute.compute_s, 2e-3);
  EXPECT_DOUBLE_EQ(compute.bandwidth_s, 1e-3);
  EXPECT_DOUBLE_EQ(compute.time_s(), 2e-3 + 1e-6);
  EXPECT_EQ(compute.bound(), Bound::compute);
  EXPECT_DOUBLE_EQ(compute.low_s(), (2e-3 + 1e-6) / 1.25);
  EXPECT_DOUBLE_EQ(compute.high_s(), (2e-3 + 1e-6) * 1.25);
  // 1e8 vector operations at 0.5e11/s: 2 ms; 1e8 bytes: 20 ms.
  const Timing bandwidth = time_of({KernelClass::stream, DType::f32, 0, 0, 1e8, 0, 1e8, 0}, p);
  EXPECT_DOUBLE_EQ(bandwidth.compute_s, 2e-3);
  EXPECT_DOUBLE_EQ(bandwidth.bandwidth_s, 20e-3);
  EXPECT_EQ(bandwidth.bound(), Bound::bandwidth);
  // 1e7 exponentials at 0.5e10/s: 2 ms
  EXPECT_DOUBLE_EQ(
      time_of({KernelClass::selective_scan, DType::f32, 0, 1e7, 0, 0, 0, 0}, p).compute_s, 2e-3);
  EXPECT_EQ(time_of({KernelClass::stream, DType::f32, 0, 0, 1, 0, 8, 0}, p).bound(), Bound::launch);
}

TEST(Roofline, AHalfOfTheCacheHoldsActivationsAndNoWeights) {
  DeviceProfile p = round_device();
  p.cache_bytes = {2e6, ""};
  p.cache_bandwidth_bytes_per_s = {1e11, ""};
  // 1e6 of 3e6 warm bytes at 1e11/s, 2e6 at 1e10/s, both halved: 2 (1e-5 + 2e-4)
  EXPECT_DOUBLE_EQ(time_of({KernelClass::stream, DType::f32, 0, 0, 0, 0, 3e6, 0}, p).bandwidth_s,
                   2 * (1e-5 + 2e-4));
  EXPECT_DOUBLE_EQ(time_of({KernelClass::stream, DType::f32, 0, 0, 0, 3e6, 0, 0}, p).bandwidth_s,
                   2 * 3e-4);
}

TEST(Roofline, WhatIsColdComesNoFasterThanMemoryDelivers) {
  DeviceProfile p = round_device();
  p.of(KernelClass::state_step).bandwidth = constant_curve(2);  // measured in a cache
  const Work w{KernelClass::state_step, DType::f32, 0, 0, 0, 1e8, 0, 0};
  EXPECT_DOUBLE_EQ(time_of(w, p).time_s(), 10e-3) << "launch included, as in the bandwidth";
  EXPECT_DOUBLE_EQ(time_of(w, p, {}, Cold::in_cache).time_s(), 5e-3 + 1e-6);
  Scales twice;
  twice.bandwidth = 2;
  EXPECT_NEAR(time_of(w, p, twice).time_s(), 5e-3, 1e-6);
  const Work warm{KernelClass::state_step, DType::f32, 0, 0, 0, 0, 1e8, 0};
  EXPECT_DOUBLE_EQ(time_of(warm, p).time_s(), 5e-3 + 1e-6);
}

TEST(Roofline, ProductsRunNoFasterThanTheirPeak) {
  DeviceProfile p = round_device();
  p.of(KernelClass::attention).compute = constant_curve(2);  // of products and all beside them
  // 1e9 matrix operations at 1e12/s: 1 ms, with 0.1 ms of others half of 1.1 by the curve; with 1e8
  // exponentials at 1e10/s half of 11 ms
  const Work products{KernelClass::attention, DType::bf16, 1e9, 0, 1e7, 0, 0, 0};
  EXPECT_DOUBLE_EQ(time_of(products, p).time_s(), 1e-3) << "launch included, as in the peak";
  const Work beside{KernelClass::attention, DType::bf16, 1e9, 1e8, 0, 0, 0, 0};
  EXPECT_DOUBLE_EQ(time_of(beside, p).compute_s, 5.5e-3);
  Scales twice;
  twice.compute = 2;
  EXPECT_NEAR(time_of(products, p, twice).time_s(), 0.5e-3, 1e-6);
}

TEST(Roofline, ALastWaveOfBlocksTakesAsLongAsAFullOne) {
  DeviceProfile p = round_device();
  p.multiprocessors = {100, ""};
  const auto compute_s = [&](KernelClass kind, double tiles) {
    return time_of({kind, DType::bf16, 1e9, 0, 0, 0, 0, tiles}, p).compute_s;
  };
  EXPECT_DOUBLE_EQ(compute_s(KernelClass::attention, 0), 2e-3);
  EXPECT_DOUBLE_EQ(compute_s(KernelClass::attention, 200), 2e-3);
  EXPECT_DOUBLE_EQ(compute_s(KernelClass::attention, 25), 2e-3 * 4);     // a quarter of the device
  EXPECT_DOUBLE_EQ(compute_s(KernelClass::attention, 125), 2e-3 * 1.6);  // two waves for 1.25
  // Blocks of a product in quarters fill the device, at 1.35 the time.
  EXPECT_DOUBLE_EQ(compute_s(KernelClass::gemm, 25), 2e-3 * 1.35);
  EXPECT_DOUBLE_EQ(compute_s(KernelClass::gemm, 10), 2e-3 * 1.35 * 2.5);  // forty of a hundred
  EXPECT_DOUBLE_EQ(compute_s(KernelClass::gemm, 50), 2e-3 * 1.15);        // halves suffice
}

TEST(Roofline, ScalesDivideWhatTheyName) {
  const DeviceProfile p = round_device();
  const Work w{KernelClass::ssd, DType::bf16, 1e9, 0, 0, 5e6, 0, 0};
  Scales scales;
  scales.bandwidth = 4;
  EXPECT_DOUBLE_EQ(time_of(w, p, scales).bandwidth_s, 0.25e-3);
  EXPECT_DOUBLE_EQ(time_of(w, p, scales).compute_s, 2e-3);
  scales.kernels[static_cast<size_t>(KernelClass::ssd)] = 2;
  EXPECT_DOUBLE_EQ(time_of(w, p, scales).compute_s, 1e-3);
  EXPECT_DOUBLE_EQ(time_of(w, p, scales).bandwidth_s, 0.125e-3);
}

TEST(Roofline, PowerLiesBetweenIdleAndBoard) {
  const DeviceProfile p = round_device();
  EXPECT_DOUBLE_EQ(power_w(Bound::compute, p), 300);
  EXPECT_DOUBLE_EQ(power_w(Bound::bandwidth, p), 200);
  EXPECT_DOUBLE_EQ(power_w(Bound::launch, p), 100);
}

TEST(Work, SplitsWhatCostCounts) {
  for (const Preset& preset : presets()) {
    const ModelSpec spec = load_spec(std::string(preset.name));
    const Plan plan = build_plan(spec, {.context = 96, .new_tokens = 2, .chunk = 40});
    for (const Step& step : plan.steps)
      for (const Node& node : step.nodes) {
        const Cost c = cost(node.op, plan);
        const Work w = work(node.op, plan);
        const std::string what = fmt::format("{} {}", preset.name, name(node.op));
        EXPECT_NEAR(w.ops(), static_cast<double>(c.ops), 1e-9 * w.ops()) << what;
        EXPECT_NEAR(w.bytes(), static_cast<double>(c.bytes()), 1e-9 * w.bytes()) << what;
        EXPECT_GE(w.matrix_ops, 0) << what;
        EXPECT_GE(w.vector_ops, -1e-6 * w.ops()) << what;
        EXPECT_GE(w.special_ops, 0) << what;
        EXPECT_GE(w.cold_bytes, 0) << what;
        EXPECT_GE(w.warm_bytes, -1e-6 * w.bytes()) << what;
      }
  }
}

// Of every row what walking each chunk gives, where prediction samples.
void expect_walked(const std::string& model, int64_t context, int64_t chunk) {
  const Plan plan = build_plan(load_spec(model), {.context = context, .chunk = chunk});
  const PassPrediction pass = predict_prefill(plan, round_device());
  const std::vector<PassRow> walked = prefill_rows(plan);
  ASSERT_EQ(pass.rows.size(), walked.size());
  double wall = 0;
  Step body = plan.step(StepKind::body);
  for (int64_t i = 0; i < plan.body_count; ++i) {
    set_past(body, i * chunk);
    for (const Node& node : body.nodes)
      wall += time_of(work(node.op, plan), round_device()).time_s();
  }
  for (const Node& node : plan.step(StepKind::tail).nodes)
    wall += time_of(work(node.op, plan), round_device()).time_s();
  for (size_t i = 0; i < walked.size(); ++i) {
    EXPECT_EQ(pass.rows[i].cost, walked[i].cost) << model << " " << i;
    EXPECT_EQ(pass.rows[i].calls, walked[i].calls);
  }
  EXPECT_NEAR(pass.wall_s, wall, 2e-3 * wall) << model;
}

TEST(Predict, SumsManyChunksAsWalkingThemDoes) {
  expect_walked("qwen2.5-0.5b", 9999, 16);
  expect_walked("phi-3-mini-4k", 4000, 7);  // a window of 2047
  expect_walked("hymba-1.5b", 5000, 16);    // meta tokens, windows with sinks
  expect_walked("mamba2-130m", 3001, 16);
  expect_walked("qwen2.5-0.5b", 40, 16);
}

// Two layers of attention of 20 heads over 64 Mi tokens, in chunks and at once.
TEST(Predict, CountsMoreOperationsThan64BitsHold) {
  constexpr int64_t context = int64_t{64} << 20;
  for (const int64_t chunk : {int64_t{512}, context}) {
    const Plan plan =
        build_plan(load_spec("jamba-reasoning-3b"), {.context = context, .chunk = chunk});
    const PassPrediction pass = predict_prefill(plan, round_device());
    int found = 0;
    for (size_t i = 0; i < pass.rows.size(); ++i) {
      const auto* a = std::get_if<Attention>(&pass.nodes[i]->op);
      if (!a) continue;
      const auto tokens = static_cast<double>(context), heads = static_cast<double>(a->heads),
                 width = static_cast<double>(a->head_dim);
      const double ops = heads * (tokens * (tokens + 1) / 2 * (4 * width + 5) + tokens * width);
      EXPECT_GT(ops, 1e19);
      EXPECT_NEAR(static_cast<double>(pass.rows[i].cost.ops), ops, 1e-9 * ops);
      EXPECT_GT(pass.rows[i].time_s, ops / 1e12) << "at the peak of its products";
      EXPECT_EQ(saturated(pass.rows[i].cost.ops), std::numeric_limits<int64_t>::max());
      ++found;
    }
    EXPECT_EQ(found, 2);
  }
}

TEST(Predict, DecodeIsTheMeanOverThePositions) {
  const Plan plan = build_plan(load_spec("qwen2.5-0.5b"), {.context = 100, .new_tokens = 300});
  const Record r = predict(plan, round_device(), {});
  double sum = 0;
  Step decode = plan.step(StepKind::decode);
  for (int64_t t = 0; t < 299; ++t) {
    set_past(decode, 100 + t);
    for (const Node& node : decode.nodes)
      sum += time_of(work(node.op, plan), round_device()).time_s();
  }
  EXPECT_NEAR(r.metrics.tpot_s->median, sum / 299, 1e-3 * sum / 299);
  EXPECT_EQ(r.source, Source::predicted);
  EXPECT_NEAR(r.metrics.tpot_s->ci_low, r.metrics.tpot_s->median / 1.25, 1e-9);
}

// As it is measured: what a generation's steps take, divided by their number.
TEST(Predict, DecodeEnergyIsTheMeanOverThePositions) {
  const Plan plan = build_plan(load_spec("qwen2.5-0.5b"), {.context = 100, .new_tokens = 4001});
  const DeviceProfile p = round_device();
  double sum_j = 0, first_j = 0;
  Step decode = plan.step(StepKind::decode);
  for (int64_t t = 0; t < 4000; ++t) {
    set_past(decode, 100 + t);
    for (const Node& node : decode.nodes) {
      const Timing time = time_of(work(node.op, plan), p);
      sum_j += time.time_s() * power_w(time.bound(), p);
    }
    if (t == 0) first_j = sum_j;
  }
  ASSERT_GT(sum_j / 4000, 1.01 * first_j) << "or the first step would pass for the mean";
  const Record r = predict(plan, p, {});
  const Energy& energy = r.decode_energy.value();
  EXPECT_NEAR(energy.total_j, sum_j / 4000, 1e-3 * sum_j / 4000);
  EXPECT_NEAR(energy.window_s, r.metrics.tpot_s->median, 1e-12);
  EXPECT_NEAR(energy.baseline_j.value(), 100 * r.metrics.tpot_s->median, 1e-9);  // idle: 100 W
  EXPECT_NEAR(energy.low_j.value(), energy.total_j / 1.25, 1e-9);
  EXPECT_NEAR(energy.high_j.value(), energy.total_j * 1.25, 1e-9);
}

TEST(Predict, OnlyAStepThatACacheHoldsIsFasterThanMemory) {
  const Plan plan = build_plan(load_spec("mamba2-130m"), {.context = 64, .new_tokens = 2});
  DeviceProfile p = round_device();
  p.launch_s.value = 1e-12;
  for (auto& [dtype, peak] : p.matrix_ops_per_s) peak.value = 1e30;
  for (Efficiency& e : p.efficiency) e.bandwidth = e.compute = constant_curve(1e6);
  const auto decode_s = [&] { return predict_decode(plan, p, 0, 0).wall_s; };
  double cold_bytes = 0;
  for (const Node& node : plan.step(StepKind::decode).nodes)
    cold_bytes += work(node.op, plan).cold_bytes;
  EXPECT_NEAR(decode_s(), cold_bytes / 1e10, 1e-2 * decode_s());
  p.cache_bytes = {cold_bytes - 1, ""};
  EXPECT_NEAR(decode_s(), cold_bytes / 1e10, 1e-2 * decode_s());
  p.cache_bytes = {2 * cold_bytes, ""};
  EXPECT_LT(decode_s(), 1e-2 * cold_bytes / 1e10);
}

TEST(Predict, APlanThatDoesNotFitIsOutOfMemory) {
  const Plan plan = build_plan(load_spec("mamba2-130m"), {.context = 64});
  MemoryByTag memory;
  memory[Tag::weights] = int64_t{2} << 40;
  const Record r = predict(plan, round_device(), memory);
  EXPECT_EQ(r.outcome, Outcome::out_of_memory);
  EXPECT_FALSE(r.metrics.ttft_s);
  EXPECT_EQ(r.memory.predicted, memory);
}

}  // namespace
}  // namespace tidemark
