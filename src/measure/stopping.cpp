#include "measure/stopping.h"

#include <algorithm>
#include <cmath>

#include "measure/stats.h"

namespace tidemark {

double widest(std::span<const Summary> watched) {
  double width = 0;
  for (const Summary& s : watched) width = std::max(width, relative_half_width(s));
  return width;
}

std::optional<StopReason> should_stop(const StoppingRule& rule, std::span<const Summary> watched,
                                      int64_t runs, double runs_s, double warmup_s) {
  if (runs < 1) return std::nullopt;
  if (runs >= rule.min_runs && runs_s >= rule.least_s() && widest(watched) <= rule.threshold)
    return StopReason::narrow_interval;
  if (runs >= rule.max_runs) return StopReason::max_runs;
  const double next_run_s = runs_s / static_cast<double>(runs);
  if (warmup_s + runs_s + next_run_s > rule.time_budget_s) return StopReason::time_budget;
  return std::nullopt;
}

double done_fraction(const StoppingRule& rule, std::span<const Summary> watched, int64_t runs,
                     double runs_s, double warmup_s) {
  if (runs < 1) return 0;
  const auto n = static_cast<double>(runs);
  const double ratio = widest(watched) / rule.threshold;
  const double least = std::max(static_cast<double>(rule.min_runs), n * rule.least_s() / runs_s);
  const double needed =
      std::min(std::max(n * ratio * ratio, least), static_cast<double>(rule.max_runs));
  const double available_s = std::max(rule.time_budget_s - warmup_s, runs_s);
  return std::min(1.0, std::max(n / needed, runs_s / available_s));
}

}  // namespace tidemark
