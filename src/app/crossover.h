// Where one model overtakes another as the context grows.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "app/limit.h"
#include "model/spec.h"
#include "plan/plan.h"
#include "record/record.h"

namespace tidemark {

// A metric at one context, smaller being better, with the 95 % interval of its median (or the value
// itself three times, when it is exact).
struct MetricPoint {
  int64_t context = 0;
  double value = 0, low = 0, high = 0;
};

struct Crossing {
  double context = 0;   // of measurements interpolated, in the logarithms of context and metric
  bool b_ahead = true;  // who is ahead from there on
  int64_t before = 0, after = 0;  // the measured contexts it lies between, or the tokens
  // Up to the first the one behind was ahead for certain, from the second on the one ahead is:
  // in between the two intervals overlap. Absent: they overlap as far as was measured.
  std::optional<double> from{}, to{};
};

// "ttft", "tpot" or "energy" (of a prefill) of one model within one configuration, contexts
// ascending. Repeats of a context are pooled; energy is one reading per repeat. Records without the
// metric give no point.
std::vector<MetricPoint> metric_points(std::span<const Record* const>, std::string_view metric);

// All crossings in the contexts that both have, ascending. Needs two common contexts.
std::vector<Crossing> find_crossings(std::span<const MetricPoint> a,
                                     std::span<const MetricPoint> b);

// A metric that can be computed at any context.
using MetricAt = std::function<MetricPoint(int64_t)>;

// Crossings between the contexts of a grid, to the token, and so are the ends of the overlap.
// Crossing::context is the first at which the other is ahead. Two crossings between neighbours of
// the grid are not seen.
std::vector<Crossing> find_exact_crossings(const std::vector<int64_t>& grid, const MetricAt& a,
                                           const MetricAt& b);

// Bytes of the plan in all, by `memory_of`. `workload` but for its context; `whole_chunk`: the
// sequence in one step. The spec must outlive the function.
MetricAt memory_metric(const ModelSpec&, const Workload&, bool whole_chunk, MemoryOf);
// Contexts half an octave apart: first, 1.4 first, 2 first, ... and last.
std::vector<int64_t> half_octaves(int64_t first, int64_t last);

}  // namespace tidemark
