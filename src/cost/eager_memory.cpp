// What a framework's allocator holds at the worst moment of a pass, cost/eager.h.
#include "cost/eager.h"
#include "plan/live_memory.h"

namespace tidemark {
namespace {

int64_t no_workspace(const Node&) {
  return 0;
}

// A product and what it is scaled or capped to are two tensors while the second is made.
bool remakes_logits(const Node& node) {
  const auto* gemm = std::get_if<Gemm>(&node.op);
  return std::holds_alternative<SoftCap>(node.op) ||
         (gemm && node.role == Role::lm_head && gemm->scale != 1.0F);
}

}  // namespace

MemoryByTag eager_memory(const Plan& plan, const EagerOptions& options) {
  const std::vector<Node>& nodes = plan.step(StepKind::tail).nodes;
  const std::vector<MemoryByTag> live = live_memory(plan, StepKind::tail, no_workspace);
  // No layer has run while the mask is made: weights, states and caches, and the embedded prompt.
  MemoryByTag peak = live.front();
  peak[Tag::workspace] = eager_mask_bytes(options, plan.workload.batch, plan.prompt());
  for (size_t i = 0; i < nodes.size(); ++i) {
    MemoryByTag memory = live[i];
    if (remakes_logits(nodes[i])) memory[Tag::logits] *= 2;
    if (memory.total() > peak.total()) peak = memory;
  }
  return peak;
}

}  // namespace tidemark
