// Where every tensor of a plan lives: one arena per tag, offsets by liveness, sizes to the byte.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/memory_by_tag.h"
#include "plan/plan.h"

namespace tidemark {

struct MemoryLayout {
  std::vector<int64_t> offset_bytes;  // by TensorId, inside the arena of its tag
  MemoryByTag size_bytes;             // arena extents; their sum is the predicted peak
};

inline constexpr int64_t tensor_alignment_bytes = 64;

// Weights, caches, states and logits live for the whole plan; activations share memory by liveness
// within a step; the workspace is as large as its hungriest node.
using WorkspaceOf = std::function<int64_t(const Node&)>;
MemoryLayout layout_memory(const Plan&, const WorkspaceOf&);

}  // namespace tidemark
