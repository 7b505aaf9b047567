// A whole pass as rows: what each operator costs summed over the steps of a prefill, or in one
// decode step. Operator profiles, explain and predictions share these rows.
#pragma once

#include <vector>

#include "plan/plan.h"

namespace tidemark {

struct PassRow {
  const Node* node = nullptr;  // in the plan's tail (prefill) or decode step
  Cost cost;
  int64_t calls = 0;
};

// Body nodes and tail nodes of the same operator share a row; operators only the tail has (the
// head, when the last logits suffice) have one call.
std::vector<PassRow> prefill_rows(const Plan&);
// One decode step after `past` tokens of prompt and output.
std::vector<PassRow> decode_rows(const Plan&, int64_t past);

Cost total(const std::vector<PassRow>&);

}  // namespace tidemark
