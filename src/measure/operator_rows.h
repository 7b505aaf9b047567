// The operators of a phase as rows of a record, with their costs: the steps of a prefill summed.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "plan/plan.h"
#include "record/record.h"

namespace tidemark {

struct PhaseRows {
  std::vector<OperatorRow> rows;                // everything but times and implementations
  std::array<std::vector<size_t>, 3> row_of{};  // [StepKind][node index] -> row
};

// Prefill: body_count body steps and the tail, each operator one row. Decode: one step at
// past = context; no rows when the workload has no decode steps.
PhaseRows phase_rows(const Plan&, Phase);

}  // namespace tidemark
