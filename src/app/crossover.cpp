#include "app/crossover.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "measure/stats.h"

namespace tidemark {
namespace {

// log(a / b) over log(context): above 0, b is ahead.
struct Curve {
  std::vector<double> x, y;
};

// Where the curve crosses 0 between points i and i + 1, whose signs differ.
double zero_between(const Curve& curve, size_t i) {
  const double share = curve.y[i] / (curve.y[i] - curve.y[i + 1]);
  return std::exp(curve.x[i] + share * (curve.x[i + 1] - curve.x[i]));
}

bool positive(double y) {
  return y > 0;
}

// The last crossing at or before segment `i` towards b (or a), and the first at or after it.
std::optional<double> zero_before(const Curve& curve, size_t i, bool towards_b) {
  for (size_t k = i + 1; k-- > 0;)
    if (positive(curve.y[k]) != positive(curve.y[k + 1]) && positive(curve.y[k + 1]) == towards_b)
      return zero_between(curve, k);
  return std::nullopt;
}
std::optional<double> zero_after(const Curve& curve, size_t i, bool towards_b) {
  for (size_t k = i; k + 1 < curve.y.size(); ++k)
    if (positive(curve.y[k]) != positive(curve.y[k + 1]) && positive(curve.y[k + 1]) == towards_b)
      return zero_between(curve, k);
  return std::nullopt;
}

// A context from which on it is another that is ahead.
struct Flip {
  int64_t context = 0;
  bool to_b = true;
};

// Where `b_ahead` changes, to the token, at most once between two contexts of the grid.
std::vector<Flip> find_flips(const std::vector<int64_t>& grid,
                             const std::function<bool(int64_t)>& b_ahead) {
  std::vector<Flip> flips;
  for (size_t i = 0; i + 1 < grid.size(); ++i) {
    int64_t low = grid[i], high = grid[i + 1];
    const bool before = b_ahead(low);
    if (before == b_ahead(high)) continue;
    while (high - low > 1) {
      const int64_t middle = low + (high - low) / 2;
      (b_ahead(middle) == before ? low : high) = middle;
    }
    flips.push_back({high, !before});
  }
  return flips;
}

}  // namespace

std::vector<MetricPoint> metric_points(std::span<const Record* const> records,
                                       std::string_view metric) {
  std::map<int64_t, std::vector<double>> samples;
  for (const Record* r : records) {
    std::vector<double>& at = samples[r->cell.context];
    if (metric == "energy") {
      if (r->prefill_energy) at.push_back(r->prefill_energy->total_j);
    } else if (const auto& s = metric == "ttft" ? r->metrics.ttft_s : r->metrics.tpot_s) {
      at.insert(at.end(), s->samples.begin(), s->samples.end());
    }
  }
  std::vector<MetricPoint> points;
  for (const auto& [context, values] : samples) {
    if (values.empty()) continue;
    const Summary s = summarize(values);
    const bool one = s.n == 1;  // and no interval
    points.push_back({context, s.median, one ? s.median : s.ci_low, one ? s.median : s.ci_high});
  }
  return points;
}

std::vector<Crossing> find_crossings(std::span<const MetricPoint> a,
                                     std::span<const MetricPoint> b) {
  // The medians, and the two extremes within the intervals: most for b, most for a.
  Curve middle, for_b, for_a;
  std::vector<int64_t> contexts;
  std::vector<MetricPoint> sorted(a.begin(), a.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& p, const auto& q) { return p.context < q.context; });
  for (const MetricPoint& p : sorted) {
    const auto q = std::find_if(
        b.begin(), b.end(), [&](const MetricPoint& other) { return other.context == p.context; });
    if (q == b.end()) continue;
    if (!(p.low > 0) || !(q->low > 0))
      fail("context {}: expected values above 0 to compare", p.context);
    contexts.push_back(p.context);
    for (Curve* curve : {&middle, &for_b, &for_a})
      curve->x.push_back(std::log(static_cast<double>(p.context)));
    middle.y.push_back(std::log(p.value / q->value));
    for_b.y.push_back(std::log(p.high / q->low));
    for_a.y.push_back(std::log(p.low / q->high));
  }
  if (contexts.size() < 2)
    fail("expected at least two contexts that both models were measured at, found {}",
         contexts.size());

  std::vector<Crossing> crossings;
  for (size_t i = 0; i + 1 < contexts.size(); ++i) {
    if (positive(middle.y[i]) == positive(middle.y[i + 1])) continue;
    const bool b_ahead = positive(middle.y[i + 1]);
    // On the way up b can be ahead from where the most favourable curve crosses, and is from where
    // the least favourable one does; on the way down the other way round.
    const Curve &early = b_ahead ? for_b : for_a, &late = b_ahead ? for_a : for_b;
    crossings.push_back({.context = zero_between(middle, i),
                         .b_ahead = b_ahead,
                         .before = contexts[i],
                         .after = contexts[i + 1],
                         .from = zero_before(early, i, b_ahead),
                         .to = zero_after(late, i, b_ahead)});
  }
  return crossings;
}

std::vector<Crossing> find_exact_crossings(const std::vector<int64_t>& grid, const MetricAt& a,
                                           const MetricAt& b) {
  std::map<int64_t, std::pair<MetricPoint, MetricPoint>> known;
  const auto at = [&](int64_t context) -> const std::pair<MetricPoint, MetricPoint>& {
    const auto found = known.find(context);
    if (found != known.end()) return found->second;
    return known.emplace(context, std::pair(a(context), b(context))).first->second;
  };
  // Whether b is ahead: as it is, at its best against the other's worst, and the other way round.
  const std::vector<Flip> flips =
      find_flips(grid, [&](int64_t c) { return at(c).second.value < at(c).first.value; });
  if (flips.empty()) return {};
  const std::vector<Flip> can = find_flips(
                              grid, [&](int64_t c) { return at(c).second.low < at(c).first.high; }),
                          must = find_flips(
                              grid, [&](int64_t c) { return at(c).second.high < at(c).first.low; });
  std::vector<Crossing> crossings;
  for (const Flip& flip : flips) {
    Crossing crossing{.context = static_cast<double>(flip.context),
                      .b_ahead = flip.to_b,
                      .before = flip.context - 1,
                      .after = flip.context};
    for (const Flip& early : flip.to_b ? can : must)
      if (early.to_b == flip.to_b && early.context <= flip.context)
        crossing.from = static_cast<double>(early.context);
    for (const Flip& late : flip.to_b ? must : can)
      if (late.to_b == flip.to_b && late.context >= flip.context && !crossing.to)
        crossing.to = static_cast<double>(late.context);
    crossings.push_back(crossing);
  }
  return crossings;
}

MetricAt memory_metric(const ModelSpec& spec, const Workload& workload, bool whole_chunk,
                       MemoryOf memory_of) {
  return [&spec, workload, whole_chunk, memory_of = std::move(memory_of)](int64_t context) {
    const Plan plan = plan_at(spec, {.workload = workload, .whole_chunk = whole_chunk}, context);
    const auto bytes = static_cast<double>(memory_of(plan).total());
    return MetricPoint{context, bytes, bytes, bytes};
  };
}

std::vector<int64_t> half_octaves(int64_t first, int64_t last) {
  std::vector<int64_t> grid;
  for (int i = 0;; ++i) {
    const int64_t context = std::llround(static_cast<double>(first) * std::exp2(i / 2.0));
    if (context >= last) break;
    if (grid.empty() || context > grid.back()) grid.push_back(context);
  }
  grid.push_back(last);
  return grid;
}

}  // namespace tidemark
