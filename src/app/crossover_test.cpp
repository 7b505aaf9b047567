#include "app/crossover.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "base/error.h"

namespace tidemark {
namespace {

constexpr int64_t contexts[] = {256, 512, 1024, 2048, 4096, 8192, 16384, 32768};

// factor * context^power with an interval of +- `spread`, at every second context when sparse.
std::vector<MetricPoint> curve(double factor, double power, double spread = 0) {
  std::vector<MetricPoint> points;
  for (const int64_t context : contexts) {
    const double value = factor * std::pow(static_cast<double>(context), power);
    points.push_back({context, value, value / (1 + spread), value * (1 + spread)});
  }
  return points;
}

// Power laws are straight lines in the logarithms, so the interpolation is exact: 1e-6 L^2 and
// 1e-3 L meet at L = 1000, and with intervals of 10 % they overlap while L / 1000 is within
// 1.1^2 of 1.
TEST(Crossover, PowerLawsMeetWhereTheyShould) {
  const auto found = find_crossings(curve(1e-6, 2, 0.1), curve(1e-3, 1, 0.1));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_NEAR(found[0].context, 1000, 1e-6);
  EXPECT_TRUE(found[0].b_ahead);
  EXPECT_EQ(found[0].before, 512);
  EXPECT_EQ(found[0].after, 1024);
  EXPECT_NEAR(*found[0].from, 1000 / 1.21, 1e-6);
  EXPECT_NEAR(*found[0].to, 1000 * 1.21, 1e-6);  // lies beyond the segment of the crossing
}

TEST(Crossover, TheOtherWayRound) {
  const auto found = find_crossings(curve(1e-3, 1, 0.1), curve(1e-6, 2, 0.1));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_NEAR(found[0].context, 1000, 1e-6);
  EXPECT_FALSE(found[0].b_ahead);
  EXPECT_NEAR(*found[0].from, 1000 / 1.21, 1e-6);
  EXPECT_NEAR(*found[0].to, 1000 * 1.21, 1e-6);
}

TEST(Crossover, NeverAndMoreThanOnce) {
  EXPECT_TRUE(find_crossings(curve(2, 1), curve(1, 1)).empty());
  const std::vector<MetricPoint> flat = {{1, 1, 1, 1}, {10, 1, 1, 1}, {100, 1, 1, 1}},
                                 hump = {{1, 0.5, 0.5, 0.5}, {10, 2, 2, 2}, {100, 0.5, 0.5, 0.5}};
  const auto found = find_crossings(hump, flat);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_NEAR(found[0].context, std::sqrt(10.0), 1e-9);  // half way in both logarithms
  EXPECT_TRUE(found[0].b_ahead);
  EXPECT_NEAR(found[1].context, 10 * std::sqrt(10.0), 1e-9);
  EXPECT_FALSE(found[1].b_ahead);
}

TEST(Crossover, IntervalsThatNeverSeparateSaySo) {
  const auto found = find_crossings(curve(1e-6, 2, 100), curve(1e-3, 1, 100));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_FALSE(found[0].from);
  EXPECT_FALSE(found[0].to);
}

TEST(Crossover, OnlyCommonContextsCount) {
  const std::vector<MetricPoint> a = {{1, 1, 1, 1}, {2, 1, 1, 1}, {4, 3, 3, 3}},
                                 b = {{4, 2, 2, 2}, {1, 2, 2, 2}, {3, 9, 9, 9}};
  const auto found = find_crossings(a, b);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].before, 1);
  EXPECT_EQ(found[0].after, 4);
  EXPECT_THROW(find_crossings(a, std::vector<MetricPoint>{{4, 2, 2, 2}}), Error);
}

// What is computed at any context: `value`, give or take `spread`.
MetricAt computed(std::function<double(double)> value, double spread = 0) {
  return [value = std::move(value), spread](int64_t context) {
    const double at = value(static_cast<double>(context));
    return MetricPoint{context, at, at / (1 + spread), at * (1 + spread)};
  };
}

TEST(Crossover, ExactToTheToken) {
  const auto found = find_exact_crossings({1, 100, 10000}, computed([](double c) { return c; }),
                                          computed([](double) { return 777.5; }));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].context, 778);
  EXPECT_EQ(found[0].before, 777);
  EXPECT_TRUE(found[0].b_ahead);
  EXPECT_EQ(found[0].from, 778);
  EXPECT_EQ(found[0].to, 778);
}

// 1e-3 c^2 and c meet at 1000; with 10 % either way they overlap from 1000 / 1.21 to 1000 * 1.21.
TEST(Crossover, TheEndsOfAnExactOverlapAreExactToo) {
  const MetricAt quadratic = computed([](double c) { return 1e-3 * c * c; }, 0.1),
                 linear = computed([](double c) { return c; }, 0.1);
  for (const bool to_b : {true, false}) {
    const auto found = to_b ? find_exact_crossings({1, 700, 1000000}, quadratic, linear)
                            : find_exact_crossings({1, 700, 1000000}, linear, quadratic);
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].b_ahead, to_b);
    EXPECT_NEAR(found[0].context, 1000, 1);
    EXPECT_EQ(found[0].from, 827);
    EXPECT_NEAR(*found[0].to, 1210, 1);
  }
  const MetricAt vague = computed([](double c) { return 1e-3 * c * c; }, 1e6);
  const auto found = find_exact_crossings({1, 700, 1000000}, vague, linear);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_FALSE(found[0].from);
  EXPECT_FALSE(found[0].to);
}

TEST(Crossover, HalfOctavesHaveBothEnds) {
  EXPECT_EQ(half_octaves(1, 9), (std::vector<int64_t>{1, 2, 3, 4, 6, 8, 9}));
  EXPECT_EQ(half_octaves(1, 65536).back(), 65536);
  EXPECT_EQ(half_octaves(128, 65536).size(), 19U);
  EXPECT_EQ(half_octaves(5, 5), (std::vector<int64_t>{5}));
}

}  // namespace
}  // namespace tidemark
