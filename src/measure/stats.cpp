#include "measure/stats.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace tidemark {
namespace {

std::vector<double> sorted_copy(std::span<const double> sample) {
  std::vector<double> sorted(sample.begin(), sample.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

// P(X <= k) of a binomial with n trials and p = 1/2.
double binomial_half_cdf(int64_t n, int64_t k) {
  double sum = 0;
  for (int64_t i = 0; i <= k; ++i) {
    const auto x = static_cast<double>(i), total = static_cast<double>(n);
    sum += std::exp(std::lgamma(total + 1) - std::lgamma(x + 1) - std::lgamma(total - x + 1) -
                    total * std::log(2.0));
  }
  return sum;
}

// P(U <= u) when both samples come from one distribution, without ties (Mann and Whitney 1947): of
// the orders of i a's and b b's, those whose largest value is an a have b pairs a > b more than
// without it, those whose largest is a b none more.
double mann_whitney_cdf(size_t na, size_t nb, size_t u) {
  // ways[i][j]: orders of i a's and (so far) b b's in which j pairs have a > b.
  std::vector<std::vector<double>> ways(na + 1, std::vector<double>(na * nb + 1, 0.0));
  for (auto& row : ways) row[0] = 1;
  for (size_t b = 1; b <= nb; ++b)
    for (size_t i = 1; i <= na; ++i)
      for (size_t j = b; j <= i * b; ++j) ways[i][j] += ways[i - 1][j - b];
  const auto& row = ways[na];
  return std::accumulate(row.begin(), row.begin() + static_cast<int64_t>(u) + 1, 0.0) /
         std::accumulate(row.begin(), row.end(), 0.0);
}

}  // namespace

MedianInterval median_interval(int64_t n) {
  // x_(low) > median happens when fewer than `low` values lie below it.
  const auto coverage = [n](int64_t low) { return 1 - 2 * binomial_half_cdf(n, low - 1); };
  int64_t low = 1;
  double reached = n == 1 ? 0 : coverage(1);
  while (2 * (low + 1) <= n) {
    const double next = coverage(low + 1);
    if (next < 0.95) break;
    reached = next;
    ++low;
  }
  return {low, n + 1 - low, reached};
}

Summary summarize(std::vector<double> sample) {
  if (sample.empty()) fail("no samples to summarize");
  const auto sorted = sorted_copy(sample);
  const auto interval = median_interval(static_cast<int64_t>(sorted.size()));
  return {.median = quantile_of_sorted(sorted, 0.5),
          .p5 = quantile_of_sorted(sorted, 0.05),
          .p95 = quantile_of_sorted(sorted, 0.95),
          .ci_low = sorted.size() > 1 ? sorted[static_cast<size_t>(interval.low) - 1] : 0,
          .ci_high = sorted.size() > 1 ? sorted[static_cast<size_t>(interval.high) - 1] : 0,
          .ci_coverage = interval.coverage,
          .n = static_cast<int64_t>(sorted.size()),
          .samples = std::move(sample)};
}

MannWhitney mann_whitney(std::span<const double> a, std::span<const double> b) {
  const auto na = static_cast<double>(a.size()), nb = static_cast<double>(b.size());
  if (a.empty() || b.empty()) return {};

  std::vector<double> all(a.begin(), a.end());
  all.insert(all.end(), b.begin(), b.end());
  std::sort(all.begin(), all.end());
  double tie_sum = 0;  // sum over groups of equal values of t^3 - t
  for (auto first = all.begin(); first != all.end();) {
    const auto next = std::upper_bound(first, all.end(), *first);
    const auto t = static_cast<double>(next - first);
    tie_sum += t * t * t - t;
    first = next;
  }

  double u = 0;
  for (double x : a)
    for (double y : b) u += x > y ? 1 : (x == y ? 0.5 : 0);

  if (tie_sum == 0 && a.size() < 50 && b.size() < 50) {
    const double smaller = std::min(u, na * nb - u);  // the distribution is symmetric
    const double p = 2 * mann_whitney_cdf(a.size(), b.size(), static_cast<size_t>(smaller));
    return {u, std::min(1.0, p), true};
  }
  const double total = na + nb;
  const double variance = na * nb / 12 * (total + 1 - tie_sum / (total * (total - 1)));
  if (variance <= 0) return {u, 1, false};  // every value is the same
  const double distance = std::max(0.0, std::abs(u - na * nb / 2) - 0.5);
  return {u, std::min(1.0, std::erfc(distance / std::sqrt(2 * variance))), false};
}

RatioInterval median_ratio(std::span<const double> a, std::span<const double> b, uint64_t seed,
                           int64_t resamples) {
  // Engine output is fixed by the standard, distributions are not: indices are drawn by remainder,
  // whose bias at these sizes is below 2^-40.
  std::mt19937_64 engine(seed);
  std::vector<double> drawn;
  const auto resampled_median = [&](std::span<const double> from) {
    drawn.resize(from.size());
    for (double& x : drawn) x = from[engine() % from.size()];
    std::sort(drawn.begin(), drawn.end());
    return quantile_of_sorted(drawn, 0.5);
  };
  std::vector<double> ratios(static_cast<size_t>(resamples));
  for (double& ratio : ratios) {
    const double numerator = resampled_median(a);
    ratio = numerator / resampled_median(b);
  }
  std::sort(ratios.begin(), ratios.end());
  return {median(a) / median(b), quantile_of_sorted(ratios, 0.025),
          quantile_of_sorted(ratios, 0.975)};
}

}  // namespace tidemark
