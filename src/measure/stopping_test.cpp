#include "measure/stopping.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "measure/stats.h"

namespace tidemark {
namespace {

struct Ended {
  StopReason reason;
  int64_t runs;
  double width;
};

// Plays run times drawn by `draw` to the rule until it stops.
template <class Draw>
Ended play(const StoppingRule& rule, Draw draw, double warmup_s = 0) {
  std::vector<double> samples;
  double elapsed_s = 0;
  for (;;) {
    samples.push_back(draw());
    elapsed_s += samples.back();
    const Summary summary = summarize(samples);
    const auto runs = static_cast<int64_t>(samples.size());
    if (auto reason = should_stop(rule, std::span(&summary, 1), runs, elapsed_s, warmup_s))
      return {*reason, runs, relative_half_width(summary)};
  }
}

TEST(Stopping, SteadyRunsStopAtTheMinimum) {
  const auto ended = play({}, [] { return 0.5; });
  EXPECT_EQ(ended.reason, StopReason::narrow_interval);
  EXPECT_EQ(ended.runs, 6);
}

TEST(Stopping, ShortRunsGoOnForASecondOrAQuarterOfTheBudget) {
  constexpr double run_s = 1.0 / 64;
  EXPECT_EQ(play({}, [] { return run_s; }).runs, 64);
  EXPECT_EQ(play({.time_budget_s = 2}, [] { return run_s; }).runs, 32);
}

TEST(Stopping, NoiseTakesMoreRunsUntilTheIntervalIsNarrow) {
  std::mt19937_64 engine(1);
  const auto noisy = [&](double spread) {
    return [&engine, spread] {
      return 0.01 * (1 + spread * static_cast<double>(engine() % 1000) / 1000);
    };
  };
  const StoppingRule rule{.threshold = 0.02, .time_budget_s = 1e9};
  const auto little = play(rule, noisy(0.1)), much = play(rule, noisy(0.5));
  EXPECT_EQ(little.reason, StopReason::narrow_interval);
  EXPECT_EQ(much.reason, StopReason::narrow_interval);
  EXPECT_LE(much.width, 0.02);
  EXPECT_GT(much.runs, 2 * little.runs);
}

TEST(Stopping, OneOutlierDoesNotHoldItUp) {
  int run = 0;
  const auto ended = play({}, [&] { return ++run == 3 ? 1.0 : 0.1; });
  EXPECT_EQ(ended.reason, StopReason::narrow_interval);
  EXPECT_LE(ended.runs, 9);  // ranks 2 and 8 of n = 9 leave the outlier out
}

TEST(Stopping, BudgetEndsItBeforeARunThatWouldOverrun) {
  int run = 0;
  // Runs of 1 s and 3 s in turn: never narrow. After 5 runs (9 s) another of the mean 1.8 s would
  // end at 10.8 s.
  const auto alternate = [&] { return ++run % 2 ? 1.0 : 3.0; };
  const auto ended = play({.time_budget_s = 10}, alternate);
  EXPECT_EQ(ended.reason, StopReason::time_budget);
  EXPECT_EQ(ended.runs, 5);
  run = 0;
  EXPECT_EQ(play({.time_budget_s = 10}, alternate, 4).runs, 3) << "the warm-up counts";
}

TEST(Stopping, OneRunIsAlwaysTaken) {
  const auto ended = play(
      {.time_budget_s = 1}, [] { return 100.0; }, 100);
  EXPECT_EQ(ended.reason, StopReason::time_budget);
  EXPECT_EQ(ended.runs, 1);
}

TEST(Stopping, MaxRunsEndsItLast) {
  int run = 0;
  const auto ended =
      play({.max_runs = 20, .time_budget_s = 1e9}, [&] { return ++run % 2 ? 1.0 : 3.0; });
  EXPECT_EQ(ended.reason, StopReason::max_runs);
  EXPECT_EQ(ended.runs, 20);
}

TEST(Stopping, EveryWatchedMetricMustBeNarrow) {
  const Summary narrow = summarize({1, 1, 1, 1, 1, 1}), wide = summarize({1, 2, 1, 2, 1, 2});
  const std::vector<Summary> both = {narrow, wide, narrow};
  EXPECT_EQ(should_stop({}, both, 6, 6, 0), std::nullopt);
  EXPECT_EQ(should_stop({}, std::span(both).first(1), 6, 6, 0), StopReason::narrow_interval);
}

TEST(Stopping, DoneFractionGrowsToOne) {
  const Summary wide = summarize({1, 2, 1, 2, 1, 2});  // half-width a third of the median
  EXPECT_EQ(done_fraction({}, {}, 0, 0, 0), 0);
  EXPECT_NEAR(done_fraction({.time_budget_s = 100}, std::span(&wide, 1), 6, 10, 0), 0.1, 1e-9);
  EXPECT_NEAR(done_fraction({.time_budget_s = 100}, std::span(&wide, 1), 6, 10, 90), 1, 1e-9);
  const Summary narrow = summarize({1, 1, 1});
  EXPECT_NEAR(done_fraction({.time_budget_s = 100}, std::span(&narrow, 1), 3, 3, 0), 0.5, 1e-9);
}

}  // namespace
}  // namespace tidemark
