// Where every tensor of a plan lives: one arena per tag, offsets by liveness, sizes to the byte.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/vocab.h"
#include "plan/plan.h"

namespace tidemark {

struct MemoryByTag {
  std::array<int64_t, tag_count> bytes{};
  int64_t& operator[](Tag tag) { return bytes[static_cast<size_t>(tag)]; }
  int64_t operator[](Tag tag) const { return bytes[static_cast<size_t>(tag)]; }
  int64_t total() const {
    int64_t sum = 0;
    for (int64_t b : bytes) sum += b;
    return sum;
  }
  bool operator==(const MemoryByTag&) const = default;
};

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
