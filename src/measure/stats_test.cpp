#include "measure/stats.h"

#include <gtest/gtest.h>

namespace tidemark {
namespace {

// The example of Python's statistics.quantiles; expected values from
// quantiles(data, n=20, method='inclusive'), which is type 7.
TEST(Stats, QuantilesAreTypeSeven) {
  const Summary s =
      summarize({105, 129, 87,  86,  111, 111, 89,  81,  108, 92, 110, 100, 75,  105, 103, 109, 76,
                 119, 99,  91,  103, 129, 106, 101, 84,  111, 74, 87,  86,  103, 103, 106, 86,  111,
                 75,  87,  102, 121, 111, 88,  89,  101, 106, 95, 103, 107, 101, 81,  109, 104});
  EXPECT_DOUBLE_EQ(s.p5, 75.45);
  EXPECT_DOUBLE_EQ(s.median, 102.5);
  EXPECT_DOUBLE_EQ(s.p95, 120.1);
  EXPECT_EQ(s.n, 50);
  EXPECT_EQ(s.samples.front(), 105) << "samples stay in the order they were taken";
  EXPECT_EQ(s.samples.back(), 104);
}

TEST(Stats, OneSampleIsItsOwnSummary) {
  const Summary s = summarize({3});
  EXPECT_EQ(s.median, 3);
  EXPECT_EQ(s.p5, 3);
  EXPECT_EQ(s.p95, 3);
  EXPECT_EQ(s.ci_low, 0);  // and no interval
  EXPECT_EQ(s.ci_high, 0);
  EXPECT_EQ(s.ci_coverage, 0);
}

TEST(Stats, EmptySampleIsRefused) {
  EXPECT_THROW(summarize({}), Error);
}

// Ranks and coverage computed with exact fractions from the binomial distribution; those of n = 20,
// 30, 50 and 100 stand in the table of Altman et al., Statistics with Confidence (2000), for the
// median.
TEST(Stats, MedianIntervalHasTheBinomialRanks) {
  struct Row {
    int64_t n, low, high;
    double coverage;
  };
  for (const Row& row :
       {Row{2, 1, 2, 0.5}, Row{3, 1, 3, 0.75}, Row{5, 1, 5, 0.9375}, Row{6, 1, 6, 0.96875},
        Row{9, 2, 8, 0.9609375}, Row{10, 2, 9, 0.978515625}, Row{20, 6, 15, 0.9586105346679688},
        Row{30, 10, 21, 0.9572260547429323}, Row{50, 18, 33, 0.9671608624357315},
        Row{100, 40, 61, 0.9647997997822951}, Row{1000, 469, 532, 0.9537088026395019}}) {
    const auto interval = median_interval(row.n);
    EXPECT_EQ(interval.low, row.low) << row.n;
    EXPECT_EQ(interval.high, row.high) << row.n;
    EXPECT_NEAR(interval.coverage, row.coverage, 1e-9) << row.n;
  }
}

TEST(Stats, IntervalIsMadeOfSamples) {
  const Summary s = summarize({9, 1, 8, 2, 7, 3, 6, 4, 5, 10});  // n = 10: ranks 2 and 9
  EXPECT_EQ(s.ci_low, 2);
  EXPECT_EQ(s.ci_high, 9);
  EXPECT_DOUBLE_EQ(relative_half_width(s), 3.5 / 5.5);
}

// Hollander and Wolfe (1973), 69f, the example of R's ?wilcox.test: W = 35, one-sided p = 0.1272;
// twice that by enumerating all 3003 splits.
TEST(Stats, MannWhitneyIsExactWithoutTies) {
  const double x[] = {0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46};
  const double y[] = {1.15, 0.88, 0.90, 0.74, 1.21};
  const auto test = mann_whitney(x, y);
  EXPECT_TRUE(test.exact);
  EXPECT_EQ(test.u, 35);
  EXPECT_NEAR(test.p, 0.2544122544122544, 1e-12);
  const auto swapped = mann_whitney(y, x);
  EXPECT_EQ(swapped.u, 15);
  EXPECT_NEAR(swapped.p, test.p, 1e-12);
}

// wilcox.test(Ozone ~ Month, airquality, Month %in% c(5, 8)), also of ?wilcox.test: W = 127.5,
// p = 0.0001208.
TEST(Stats, MannWhitneyCorrectsForTies) {
  const double may[] = {41, 36, 12, 18, 28, 23, 19, 8, 7,  16, 11, 14,  18,
                        14, 34, 6,  30, 11, 1,  11, 4, 32, 23, 45, 115, 37};
  const double august[] = {39, 9,  16, 78, 35, 66, 122, 89,  110, 44, 28,  65, 22,
                           59, 23, 31, 44, 21, 9,  45,  168, 73,  76, 118, 84, 85};
  const auto test = mann_whitney(may, august);
  EXPECT_FALSE(test.exact);
  EXPECT_EQ(test.u, 127.5);
  EXPECT_NEAR(test.p, 0.0001208, 5e-8);
}

TEST(Stats, MannWhitneyOfEqualsSaysNothing) {
  const double a[] = {2, 2, 2}, b[] = {2, 2};
  EXPECT_EQ(mann_whitney(a, b).p, 1);
}

// All 4^4 * 4^4 pairs of resamples, enumerated elsewhere: 1.9 % of the ratios of medians are at
// most 0.4 and 3.7 % at most 4/9; 96.1 % are at most 4 and 97.8 % at most 4.5.
TEST(Stats, BootstrapMatchesEnumeration) {
  const double a[] = {1, 2, 4, 7}, b[] = {1, 1.5, 3, 3.5};
  const auto interval = median_ratio(a, b, 1);
  EXPECT_DOUBLE_EQ(interval.ratio, 3 / 2.25);
  EXPECT_GT(interval.low, 0.4 - 1e-12);
  EXPECT_LT(interval.low, 4.0 / 9 + 1e-12);
  EXPECT_GT(interval.high, 4 + 1e-12);
  EXPECT_LT(interval.high, 4.5 + 1e-12);
}

TEST(Stats, BootstrapRepeatsWithItsSeed) {
  const double a[] = {1, 2, 4, 7, 9}, b[] = {1, 1.5, 3, 3.5, 8};
  const auto first = median_ratio(a, b, 7, 500), second = median_ratio(a, b, 7, 500);
  EXPECT_EQ(first.low, second.low);
  EXPECT_EQ(first.high, second.high);
  const double one[] = {2, 2, 2};
  const auto sure = median_ratio(one, one, 7);
  EXPECT_EQ(sure.low, 1);
  EXPECT_EQ(sure.high, 1);
}

}  // namespace
}  // namespace tidemark
