// The statistics behind every reported number: nonparametric, because run times are not normal.
// docs/measuring.md states the same definitions for readers of the results.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/quantile.h"
#include "record/record.h"

namespace tidemark {

// Order statistics [x_(low), x_(high)], ranks from 1, that hold the median with probability
// `coverage`: the narrowest symmetric pair of at least 95 %, from the binomial distribution with
// p = 1/2 (Conover, Practical Nonparametric Statistics, section 3.2). Below n = 6 no pair reaches
// 95 %: then it is the whole range, and `coverage` says what that is worth (1 - 2^(1-n)).
struct MedianInterval {
  int64_t low = 1, high = 1;
  double coverage = 0;
};
MedianInterval median_interval(int64_t n);

// Fails on an empty sample.
Summary summarize(std::vector<double> sample);

// Two-sided test of whether one of two samples tends to be larger. u counts the pairs (a, b) with
// a > b, ties one half. Exact without ties and below 50 of each; else the normal approximation with
// corrections for ties and continuity, as R's wilcox.test does.
struct MannWhitney {
  double u = 0;
  double p = 1;
  bool exact = false;
};
MannWhitney mann_whitney(std::span<const double> a, std::span<const double> b);

// median(a) / median(b), and the 95 % percentile bootstrap interval: both samples resampled
// independently. The same seed gives the same interval on every platform.
struct RatioInterval {
  double ratio = 1, low = 1, high = 1;
};
RatioInterval median_ratio(std::span<const double> a, std::span<const double> b, uint64_t seed,
                           int64_t resamples = 10000);

}  // namespace tidemark
