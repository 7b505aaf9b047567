#include "plan/live_memory.h"

namespace tidemark {
namespace {

int64_t aligned(int64_t bytes) {
  return (bytes + tensor_alignment_bytes - 1) / tensor_alignment_bytes * tensor_alignment_bytes;
}

struct Use {
  size_t first = 0, last = 0;
  bool used = false;
};

// First and last node of a step that touches each tensor.
std::vector<Use> uses(const Plan& plan, const Step& step) {
  std::vector<Use> uses(plan.tensors.size());
  for (size_t node = 0; node < step.nodes.size(); ++node) {
    const Touched t = touched(step.nodes[node].op);
    for (const std::vector<TensorId>* list : {&t.reads, &t.writes})
      for (const TensorId id : *list) {
        Use& use = uses[static_cast<size_t>(id)];
        if (!use.used) use.first = node;
        use.last = node;
        use.used = true;
      }
  }
  return uses;
}

}  // namespace

std::vector<MemoryByTag> live_memory(const Plan& plan, StepKind kind,
                                     const WorkspaceOf& workspace_of) {
  const Step& step = plan.step(kind);
  std::vector<MemoryByTag> live(step.nodes.size());
  const std::vector<Use> in_step = uses(plan, step);
  const std::vector<Use> in_body = uses(plan, plan.step(StepKind::body));
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const Tensor& tensor = plan.tensors[i];
    size_t from = 0, to = live.size();  // [from, to)
    if (tensor.tag == Tag::logits) {
      // Once taken they stay: those of earlier steps are there from the first node.
      const bool before = kind == StepKind::tail && in_body[i].used;
      if (!before && !in_step[i].used) continue;
      if (!before) from = in_step[i].first;
    } else if (tensor.tag == Tag::activation && static_cast<TensorId>(i) != plan.ids) {
      if (!in_step[i].used) continue;
      from = in_step[i].first;
      to = in_step[i].last + 1;
    }
    for (size_t node = from; node < to; ++node)
      live[node][tensor.tag] += aligned(size_bytes(tensor));
  }
  for (size_t node = 0; node < live.size(); ++node)
    live[node][Tag::workspace] = aligned(workspace_of(step.nodes[node]));
  return live;
}

}  // namespace tidemark
