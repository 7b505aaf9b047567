// Measures a model through its executor: whole generations for the pass-level numbers, then apart
// from them a few passes with a timestamp around every operator.
#pragma once

#include <functional>
#include <string_view>

#include "backend/executor.h"
#include "measure/stopping.h"
#include "record/record.h"

namespace tidemark {

struct Progress {
  std::string_view stage;  // "warm-up", "generations", "operators"
  double done = 0;         // of the whole measurement, in [0, 1], an estimate
};

// Seconds of a clock that never goes back.
double steady_now_s();

struct MeasureOptions {
  StoppingRule stopping{};
  int64_t prefill_profile_passes = 5;  // at most; 0: no operator-level runs of this phase
  int64_t decode_profile_passes = 20;
  double profile_budget_s = 15;                     // per phase; one pass is always taken
  std::function<void(const Progress&)> progress{};  // never called inside a timed region
  std::function<double()> now_s = steady_now_s;
};

// Identity and provenance of a result that is to come; what the plan does not know (family,
// weights, prompt, memory limit) is left to the caller. The process's peak RSS counts from here on,
// so that one cell does not show the peak of the one before; where the system forbids that, a flag
// says so.
Record start_record(const Plan&, const BackendInfo&);

// Fills metrics, memory and operator profiles. The executor has its weights and prompt.
void measure(Executor&, const MeasureOptions&, Record&);

}  // namespace tidemark
