#include "plan/memory.h"

#include <algorithm>

namespace tidemark {
namespace {

int64_t aligned(int64_t bytes) {
  return (bytes + tensor_alignment_bytes - 1) / tensor_alignment_bytes * tensor_alignment_bytes;
}

struct Interval {
  TensorId tensor;
  size_t first, last;  // node indices, both included
  int64_t bytes;
};

// First-fit by decreasing size over tensors whose lifetimes overlap; returns the extent.
int64_t place(std::vector<Interval> intervals, int64_t base, std::vector<int64_t>& offset_bytes) {
  std::stable_sort(intervals.begin(), intervals.end(),
                   [](const Interval& a, const Interval& b) { return a.bytes > b.bytes; });
  std::vector<const Interval*> placed;
  int64_t extent = base;
  for (const Interval& interval : intervals) {
    std::vector<std::pair<int64_t, int64_t>> busy;
    for (const Interval* other : placed)
      if (other->first <= interval.last && interval.first <= other->last) {
        const int64_t at = offset_bytes[static_cast<size_t>(other->tensor)];
        busy.emplace_back(at, at + other->bytes);
      }
    std::sort(busy.begin(), busy.end());
    int64_t at = base;
    for (const auto& [from, to] : busy) {
      if (at + interval.bytes <= from) break;
      at = std::max(at, to);
    }
    offset_bytes[static_cast<size_t>(interval.tensor)] = at;
    extent = std::max(extent, at + interval.bytes);
    placed.push_back(&interval);
  }
  return extent;
}

}  // namespace

MemoryLayout layout_memory(const Plan& plan, const WorkspaceOf& workspace_of) {
  MemoryLayout layout;
  layout.offset_bytes.assign(plan.tensors.size(), 0);

  auto persistent = [&](size_t i) {
    return plan.tensors[i].tag != Tag::activation || static_cast<TensorId>(i) == plan.ids;
  };
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    if (!persistent(i)) continue;
    int64_t& end = layout.size_bytes[plan.tensors[i].tag];
    layout.offset_bytes[i] = end;
    end += aligned(size_bytes(plan.tensors[i]));
  }

  const int64_t activation_base = layout.size_bytes[Tag::activation];
  for (const Step& step : plan.steps) {
    std::vector<Interval> intervals;
    std::vector<int64_t> index_of(plan.tensors.size(), -1);
    for (size_t node = 0; node < step.nodes.size(); ++node) {
      const Touched t = touched(step.nodes[node].op);
      for (const std::vector<TensorId>* list : {&t.reads, &t.writes})
        for (TensorId id : *list) {
          const auto i = static_cast<size_t>(id);
          if (persistent(i)) continue;
          if (index_of[i] < 0) {
            index_of[i] = static_cast<int64_t>(intervals.size());
            intervals.push_back({id, node, node, aligned(size_bytes(plan.tensors[i]))});
          }
          intervals[static_cast<size_t>(index_of[i])].last = node;
        }
      layout.size_bytes[Tag::workspace] =
          std::max(layout.size_bytes[Tag::workspace], aligned(workspace_of(step.nodes[node])));
    }
    layout.size_bytes[Tag::activation] =
        std::max(layout.size_bytes[Tag::activation],
                 place(std::move(intervals), activation_base, layout.offset_bytes));
  }
  return layout;
}

}  // namespace tidemark
