// One pass as a trace in the JSON Array Format of Chrome's trace viewer, which Perfetto reads too:
// a slice per operator in a track per category, and memory in use by tag as a counter.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/vocab.h"
#include "report/study.h"

namespace tidemark {

struct TraceSlice {
  std::string name{};  // of the operator
  Category category = Category::gemm;
  Role role = Role::embed;
  int32_t layer = -1;
  double start_s = 0, duration_s = 0;
  nlohmann::ordered_json args = nlohmann::ordered_json::object();  // shape, cost, implementation
};

struct Trace {
  std::string title{};  // "qwen2.5-0.5b, 4096 tokens, prefill"
  std::vector<TraceSlice> slices{};
  std::vector<MemoryPoint> memory{};
};

// Throws Error when a time is negative or not finite.
nlohmann::ordered_json trace_to_json(std::span<const Trace>);

// The memory of every pass of a file that trace_to_json made.
std::vector<MemoryTimeline> memory_from_trace(const nlohmann::ordered_json&);

}  // namespace tidemark
