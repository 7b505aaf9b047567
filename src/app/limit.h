// The largest context whose plan fits a memory budget.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/memory_by_tag.h"
#include "plan/memory.h"
#include "plan/plan.h"

namespace tidemark {

struct LimitRequest {
  Workload workload{};       // its context is what is looked for
  bool whole_chunk = false;  // the sequence in one step, whatever workload.chunk says
  int64_t budget_bytes = 0;
};

// Bytes by tag that a plan takes.
using MemoryOf = std::function<MemoryByTag(const Plan&)>;

struct Limit {
  int64_t context = 0;           // 0: not even one token fits
  MemoryByTag fits{};            // at `context`
  MemoryByTag beyond{};          // at context + 1
  Tag broken_by = Tag::weights;  // what grows most with the context there, or is largest at 1 token
  bool unbounded = false;        // max_context(), the most a plan can have, fits
};

// Exact: context fits, context + 1 does not.
Limit find_limit(const ModelSpec&, const LimitRequest&, const MemoryOf&);

// What really runs, of `most` tokens at most, where runs() contradicts a limit that was planned:
// found from there up by doubling, or down by halving. Few calls matter, each is a run.
int64_t find_measured_limit(int64_t planned, int64_t most,
                            const std::function<bool(int64_t)>& runs);

Plan plan_at(const ModelSpec&, const LimitRequest&, int64_t context);

}  // namespace tidemark
