#include "base/quantile.h"

#include <gtest/gtest.h>

#include <vector>

namespace tidemark {
namespace {

TEST(Quantile, InterpolatesBetweenRanks) {
  const std::vector<double> sorted = {1, 2, 4, 8};
  EXPECT_EQ(quantile_of_sorted(sorted, 0), 1);
  EXPECT_EQ(quantile_of_sorted(sorted, 0.5), 3);
  EXPECT_EQ(quantile_of_sorted(sorted, 0.75), 5);
  EXPECT_EQ(quantile_of_sorted(sorted, 1), 8);
}

TEST(Quantile, MedianOfAnyOrderAndCount) {
  EXPECT_EQ(median(std::vector<double>{7}), 7);
  EXPECT_EQ(median(std::vector<double>{9, 1, 4}), 4);
  EXPECT_EQ(median(std::vector<double>{8, 1, 4, 2}), 3);
}

}  // namespace
}  // namespace tidemark
