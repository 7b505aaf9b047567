// One prefill and one decode step, operator by operator, as a trace.
#pragma once

#include <vector>

#include "backend/executor.h"
#include "report/trace.h"

namespace tidemark {

// Prefills once to warm up, then once more and, where the workload has decode steps, decodes one
// token, waiting for the device around every operator. Memory is what is live at each operator
// (plan/live_memory.h), caches as far as they are filled. The executor has its weights and prompt.
std::vector<Trace> trace_pass(Executor&);

// Of the KV caches, which are allocated whole, what holds keys and values once a step at `past` has
// run.
int64_t filled_cache_bytes(const Plan&, const Step&, int64_t past);

}  // namespace tidemark
