// When a measurement has run long enough: the noise has settled, or the time is spent.
// After the stdrel criterion of NVIDIA/nvbench, on the interval of the median instead of the
// standard deviation.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>

#include "record/record.h"

namespace tidemark {

struct StoppingRule {
  bool warm_up = true;      // one generation at least
  double threshold = 0.02;  // relative half-width of the 95 % interval of every watched median
  int64_t min_runs = 6;     // the fewest that have a 95 % interval of the median at all
  int64_t max_runs = 500;
  double time_budget_s = 30;  // warm-up and runs together; at least one run is taken
  // Both the warm-up and the runs last so long at least, so that short work, too, meets the clocks
  // that a processor keeps up; of a small budget a quarter each.
  double min_time_s = 1;
  double least_s() const { return std::min(min_time_s, time_budget_s / 4); }
};

// After each run: why to stop, or nothing to go on. `watched` are the summaries so far, all of the
// same runs. The budget ends a measurement when another run as long as the mean so far would
// overrun it.
std::optional<StopReason> should_stop(const StoppingRule&, std::span<const Summary> watched,
                                      int64_t runs, double runs_s, double warmup_s);

// The widest of the relative half-widths.
double widest(std::span<const Summary> watched);

// Estimate in [0, 1] of how much of the measurement is done, warm-up excluded: the interval narrows
// with the square root of the runs.
double done_fraction(const StoppingRule&, std::span<const Summary> watched, int64_t runs,
                     double runs_s, double warmup_s);

}  // namespace tidemark
