// What of a plan's memory holds something at every moment of a pass.
#pragma once

#include <vector>

#include "base/memory_by_tag.h"
#include "plan/memory.h"
#include "plan/plan.h"

namespace tidemark {

// Bytes by tag while each node of one step runs, when every tensor is freed after its last use and
// logits are taken at their first: what an allocator that frees at once would hold. Weights, caches
// and states live throughout. It never exceeds layout_memory's sizes, which are taken once, for all
// steps and by tag: there the largest logits and the largest activations count together, here only
// if they meet.
std::vector<MemoryByTag> live_memory(const Plan&, StepKind, const WorkspaceOf&);

}  // namespace tidemark
