#include "measure/harness.h"

#include <gtest/gtest.h>

#include "clockwork_backend.h"
#include "measure/operator_rows.h"
#include "measure/provenance.h"

namespace tidemark {
namespace {

Record measured(ClockworkBackend& backend, int64_t new_tokens, MeasureOptions options = {}) {
  options.now_s = [&] { return backend.now_s; };
  options.stopping.time_budget_s = 1e6;
  options.profile_budget_s = 1e6;
  Executor executor(small_plan(new_tokens), backend);
  Record record = start_record(executor.plan(), backend.info());
  measure(executor, options, record);
  return record;
}

// Prefill: 2 body steps of 0.5 + 1 + 2 and a tail of 0.5 + 3 + 4 + 5: 19.5 s. Decode step: 1 s.
TEST(Harness, PassLevelTimesAreThoseOfWholeGenerations) {
  ClockworkBackend backend;
  const Record r = measured(backend, 4);
  EXPECT_NEAR(r.metrics.ttft_s->median, 19.5, 1e-9);
  EXPECT_NEAR(r.metrics.tpot_s->median, 1, 1e-9);
  EXPECT_NEAR(r.metrics.end_to_end_s->median, 22.5, 1e-9);
  EXPECT_NEAR(r.metrics.prefill_tokens_per_s->median, 20 / 19.5, 1e-9);
  EXPECT_NEAR(r.metrics.decode_tokens_per_s->median, 2, 1e-9);
  EXPECT_EQ(r.metrics.ttft_s->n, 6);
  EXPECT_EQ(r.metrics.decode_step_s.size(), 6U);
  EXPECT_EQ(r.metrics.decode_step_s[0].size(), 3U);
  EXPECT_EQ(r.metrics.stopping->reason, StopReason::narrow_interval);
  EXPECT_EQ(r.metrics.stopping->runs, 6);
  EXPECT_NEAR(r.metrics.stopping->elapsed_s, 6 * 22.5, 1e-6);
}

TEST(Harness, GenerationsRunChunksAndDepthsInOrder) {
  ClockworkBackend backend;
  measured(backend, 3, {.prefill_profile_passes = 0, .decode_profile_passes = 0});
  const std::vector<std::pair<StepKind, int64_t>> generation = {{StepKind::body, 0},
                                                                {StepKind::body, 4},
                                                                {StepKind::tail, 8},
                                                                {StepKind::decode, 10},
                                                                {StepKind::decode, 11}};
  ASSERT_EQ(backend.ran.size(), 7 * generation.size());  // a warm-up and six runs
  for (size_t i = 0; i < backend.ran.size(); ++i)
    EXPECT_EQ(backend.ran[i], generation[i % generation.size()]) << i;
  EXPECT_EQ(backend.observed_steps, 0) << "none is watched";
}

TEST(Harness, OneNewTokenHasNoTpot) {
  ClockworkBackend backend;
  const Record r = measured(backend, 1);
  EXPECT_FALSE(r.metrics.tpot_s);
  EXPECT_FALSE(r.metrics.decode_tokens_per_s);
  EXPECT_FALSE(r.decode);
  EXPECT_TRUE(r.metrics.decode_step_s.empty());
  EXPECT_NEAR(r.metrics.end_to_end_s->median, 19.5, 1e-9);
}

TEST(Harness, OperatorTimesAndGapCloseToTheWall) {
  ClockworkBackend backend;
  const Record r = measured(backend, 4);
  ASSERT_TRUE(r.prefill);
  ASSERT_EQ(r.prefill->rows.size(), 3U);
  EXPECT_NEAR(r.prefill->rows[0].time_s, 1 + 1 + 3, 1e-9);
  EXPECT_NEAR(r.prefill->rows[1].time_s, 2 + 2 + 4, 1e-9);
  EXPECT_NEAR(r.prefill->rows[2].time_s, 5, 1e-9);
  EXPECT_NEAR(r.prefill->wall_s, 19.5, 1e-9);
  EXPECT_NEAR(r.prefill->gap_s, 1.5, 1e-9);
  EXPECT_NEAR(*r.prefill->overhead, 1, 1e-9);
  EXPECT_EQ(r.prefill->passes, 5);
  EXPECT_EQ(r.prefill->rows[0].implementation, "plain");
  EXPECT_EQ(r.prefill->rows[1].implementation, "plain | gemv") << "the tail runs another kernel";
  EXPECT_NEAR(r.decode->wall_s, 1, 1e-9);
  EXPECT_NEAR(r.decode->gap_s, 0.5, 1e-9);
  EXPECT_EQ(r.decode->passes, 20);
}

TEST(Harness, ADevicesOwnClockTimesItsOperators) {
  ClockedBackend backend;
  const Record r = measured(backend, 4);
  ASSERT_TRUE(r.prefill && r.prefill->device && r.decode && r.decode->device);
  EXPECT_NEAR(r.prefill->rows[0].time_s, 0.05, 1e-9);
  EXPECT_NEAR(r.prefill->rows[2].time_s, 0.05, 1e-9);
  EXPECT_NEAR(r.prefill->wall_s, 0.183, 1e-9) << "the device was busy for so long";
  EXPECT_NEAR(r.prefill->gap_s, 0.003, 1e-9);
  EXPECT_NEAR(*r.prefill->overhead, 0.183 / 19.5, 1e-9);
  EXPECT_NEAR(r.prefill->device->busy_s, 0.183, 1e-9);
  EXPECT_NEAR(r.prefill->device->host_dispatch_s, 19.5 / 4, 1e-9);
  EXPECT_NEAR(r.prefill->device->idle_s, 19.5 * 0.75 - 0.183, 1e-9);
  EXPECT_NEAR(r.decode->wall_s, 0.006, 1e-9);
}

// What runs for the first time while it is watched is slow, and in no pass that counts.
TEST(Harness, TheFirstWatchedStepsAreNotCounted) {
  ClockworkBackend backend;
  backend.cold_s = 100;
  const Record r = measured(backend, 4);
  EXPECT_NEAR(r.prefill->wall_s, 19.5, 1e-9);
  EXPECT_NEAR(r.decode->wall_s, 1, 1e-9);
}

// The slow pass is left out, in the rows, the gap and the wall alike.
TEST(Harness, OutlierPassesAreLeftOutWhole) {
  ClockworkBackend backend;
  backend.slow_every = 3 * 5;  // the gap before one step in one of five passes: 4.5 s more
  const Record r = measured(backend, 1);
  EXPECT_NEAR(r.prefill->wall_s, 19.5, 1e-9);
  EXPECT_NEAR(r.prefill->gap_s, 1.5, 1e-9);
  EXPECT_NEAR(r.prefill->rows[2].time_s, 5, 1e-9);
}

TEST(Harness, ProfileBudgetLimitsThePasses) {
  ClockworkBackend backend;
  MeasureOptions options{.profile_budget_s = 45};
  options.now_s = [&] { return backend.now_s; };
  Executor executor(small_plan(1), backend);
  Record record = start_record(executor.plan(), backend.info());
  measure(executor, options, record);
  EXPECT_EQ(record.prefill->passes, 2);  // 19.5 s each
}

// m * n * k of the gemms: body 8 rows, tail 4, 1 and 2 rows, n 8, k 16, f32.
TEST(Harness, RowsSumTheCostsOfAllChunks) {
  const PhaseRows rows = phase_rows(small_plan(2), Phase::prefill);
  ASSERT_EQ(rows.rows.size(), 3U);
  EXPECT_EQ(rows.rows[0].calls, 3);
  EXPECT_EQ(rows.rows[0].ops, 2 * 8 * 16 * (8 + 8 + 4));
  EXPECT_EQ(rows.rows[1].ops, 2 * 8 * 16 * (8 + 8 + 1));
  EXPECT_EQ(rows.rows[2].calls, 1);
  EXPECT_EQ(rows.rows[2].role, Role::lm_head);
  EXPECT_EQ(rows.rows[2].layer, -1);
  EXPECT_EQ(rows.rows[0].bytes_read, 4 * (16 * (8 + 8 + 4) + 3 * 8 * 16));
  EXPECT_EQ(rows.rows[0].bytes_written, 4 * 8 * (8 + 8 + 4));

  EXPECT_EQ(phase_rows(small_plan(2), Phase::decode).rows.size(), 2U);
  EXPECT_TRUE(phase_rows(small_plan(1), Phase::decode).rows.empty());
}

// Causal attention in chunks does each (query, key) pair once, so that the chunked total equals the
// whole: H heads * pairs * (2 P for q k + 2 P for p v + the softmax per pair).
TEST(Harness, RowsFollowThePastOfEveryChunk) {
  const auto attention_ops = [](int64_t chunk, int64_t body_count, int64_t tail) {
    Plan plan;
    plan.workload = {.context = 12, .chunk = chunk};
    plan.body_count = body_count;
    plan.tensors = {{.name = "t", .rows = 64, .cols = 64}};
    const Operand t{.tensor = 0, .offset = 0, .stride = 64};
    for (StepKind kind : {StepKind::body, StepKind::tail}) {
      const int64_t length = kind == StepKind::body ? chunk : tail;
      plan.step(kind) = {.kind = kind,
                         .length = length,
                         .nodes = {{Attention{.q = t,
                                              .k = t,
                                              .v = t,
                                              .k_cache = t,
                                              .v_cache = t,
                                              .out = t,
                                              .batch = 1,
                                              .length = length,
                                              .past = 0,
                                              .heads = 1,
                                              .kv_heads = 1,
                                              .head_dim = 8,
                                              .value_dim = 8,
                                              .capacity = 12,
                                              .window = 0,
                                              .scale = 1},
                                    Role::attention, 0}}};
    }
    return phase_rows(plan, Phase::prefill).rows.at(0).ops;
  };
  EXPECT_EQ(attention_ops(4, 2, 4), attention_ops(12, 0, 12));
  EXPECT_EQ(attention_ops(5, 2, 2), attention_ops(12, 0, 12));
}

TEST(Harness, RecordSaysWhatItIsOf) {
  ClockworkBackend backend;
  const Record r = measured(backend, 4);
  EXPECT_EQ(r.cell.model, "small");
  EXPECT_EQ(r.cell.device, "clockwork");
  EXPECT_EQ(r.cell.batch, 2);
  EXPECT_EQ(r.cell.context, 10);
  EXPECT_EQ(r.cell.new_tokens, 4);
  EXPECT_EQ(r.cell.chunk, 4);
  EXPECT_EQ(r.cell.threads, 3);
  EXPECT_EQ(r.provenance.device_name, "Brass");
  EXPECT_EQ(r.provenance.isa, "cogs");
  EXPECT_EQ(r.memory.budget_bytes, 1 << 20);
  EXPECT_EQ(r.memory.predicted[Tag::activation], 64 * 64 * 4);
  EXPECT_EQ(r.memory.high_water, r.memory.predicted);
}

TEST(Harness, PeakRssIsOfThisCell) {
  if (!reset_peak_rss()) GTEST_SKIP() << "/proc/self/clear_refs is not writable";
  constexpr size_t size_bytes = 256 << 20;
  { std::vector<char> cell_before(size_bytes, 1); }
  const int64_t before = *peak_rss_bytes();
  ClockworkBackend backend;
  const Record r = measured(backend, 1);
  EXPECT_LT(*r.memory.peak_rss_bytes, before - static_cast<int64_t>(size_bytes / 2));
}

TEST(Harness, ProgressRisesToOne) {
  ClockworkBackend backend;
  backend.slow_every = 11;  // the estimate of what is left jumps about
  std::vector<Progress> told;
  measured(backend, 4, {.progress = [&](const Progress& p) { told.push_back(p); }});
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told.front().stage, "warm-up");
  EXPECT_EQ(told.back().done, 1);
  for (size_t i = 1; i < told.size(); ++i) EXPECT_GE(told[i].done, told[i - 1].done);
}

}  // namespace
}  // namespace tidemark
