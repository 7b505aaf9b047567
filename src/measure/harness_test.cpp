#include "measure/harness.h"

#include <gtest/gtest.h>

#include "measure/operator_rows.h"
#include "measure/provenance.h"

namespace tidemark {
namespace {

// A backend on a clock of its own: every node takes a given time, every step a little more.
class ClockworkBackend : public Backend {
 public:
  double now_s = 1000;
  double step_gap_s = 0.5;  // of every step, outside its nodes
  int slow_every = 0;       // every so many steps take ten times as long; 0: none
  std::vector<std::pair<StepKind, int64_t>> ran;
  int observed_steps = 0;

  BackendInfo info() const override {
    return {.device = "clockwork",
            .name = "Brass",
            .isa = "cogs",
            .threads = 3,
            .libraries = {"spring 1.0"},
            .memory_bytes = 1 << 20};
  }
  bool supports(DType) const override { return true; }
  int64_t workspace_bytes(const Node&, const Plan&) const override { return 0; }
  void attach(const Plan& plan, const MemoryLayout& layout) override {
    plan_ = &plan;
    layout_ = layout;
  }
  void detach() override {}
  void upload(TensorId, std::span<const std::byte>, int64_t) override {}
  void download(TensorId, std::span<std::byte>, int64_t) const override {}
  MemoryByTag high_water() const override { return layout_.size_bytes; }
  void run_step(StepKind kind, int64_t past, NodeObserver* observer) override {
    ran.emplace_back(kind, past);
    observed_steps += observer != nullptr;
    const bool slow = slow_every > 0 && ran.size() % static_cast<size_t>(slow_every) == 0;
    now_s += step_gap_s * (slow ? 10 : 1);
    const Step& step = plan_->step(kind);
    for (size_t i = 0; i < step.nodes.size(); ++i) {
      if (observer != nullptr) observer->before(step.nodes[i], i);
      now_s += node_s(kind, i);
      if (observer != nullptr) observer->after(step.nodes[i], i);
    }
  }
  void synchronize() override {}
  std::string implementation(StepKind kind, size_t node) const override {
    const auto* gemm = std::get_if<Gemm>(&plan_->step(kind).nodes[node].op);
    return gemm != nullptr && gemm->m == 1 ? "gemv" : "plain";
  }

  // Body: 1, 2 s. Tail: 3, 4, 5 s. Decode: 0.25, 0.25 s.
  static double node_s(StepKind kind, size_t i) {
    if (kind == StepKind::body) return 1.0 + static_cast<double>(i);
    if (kind == StepKind::tail) return 3.0 + static_cast<double>(i);
    return 0.25;
  }

 private:
  const Plan* plan_ = nullptr;
  MemoryLayout layout_;
};

// 10 tokens in chunks of 4: two body steps [gemm, gemm], a tail of 2 tokens with one more gemm.
Plan small_plan(int64_t new_tokens) {
  Plan plan;
  plan.model = "small";
  plan.workload = {.batch = 2, .context = 10, .new_tokens = new_tokens, .chunk = 4};
  plan.body_count = 2;
  plan.tensors = {{.name = "t", .rows = 64, .cols = 64}};
  const Operand t{.tensor = 0, .offset = 0, .stride = 64};
  const auto node = [&](int64_t rows, Role role, int32_t layer) {
    return Node{Gemm{.x = t, .weight = t, .bias = {}, .out = t, .m = rows, .n = 8, .k = 16}, role,
                layer};
  };
  plan.steps[0] = {.kind = StepKind::body,
                   .length = 4,
                   .nodes = {node(8, Role::mlp_up, 0), node(8, Role::mlp_up, 0)}};
  plan.steps[1] = {
      .kind = StepKind::tail,
      .length = 2,
      .nodes = {node(4, Role::mlp_up, 0), node(1, Role::mlp_up, 0), node(2, Role::lm_head, -1)}};
  if (new_tokens > 1)
    plan.steps[2] = {.kind = StepKind::decode,
                     .length = 1,
                     .nodes = {node(2, Role::mlp_up, 0), node(2, Role::lm_head, -1)}};
  return plan;
}

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
