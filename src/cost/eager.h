// How a framework runs the same plan: one whole-sequence pass with the logits of all positions,
// elementwise operators as separate kernels, every kernel launched by the host on its own.
#pragma once

#include "base/memory_by_tag.h"
#include "cost/launches.h"
#include "model/spec.h"

namespace tidemark {

struct EagerOptions {
  // From this many positions on the framework holds the causal mask in memory, and attention visits
  // all pairs; 0: never. PyTorch's fused causal attention takes no window, so Hugging Face
  // transformers (4.40 to 4.50, AttentionMaskConverter) makes a mask once the keys reach the
  // config's sliding_window, even where use_sliding_window is false.
  int64_t masked_from = 0;
  // A model without attention runs in the state-space library (mamba_ssm): norm and residual are
  // one kernel compiled at run time. Any other is transformers, whose norms are eight.
  bool fused_norms = false;
  // Whether a forward pass that is given no cache makes one. mamba_ssm does not, nor do models of
  // transformers that "require an initialized cache" to return one (modeling_bamba.py and the
  // like).
  bool keeps_cache = true;
};
EagerOptions eager_options(const ModelSpec&);

// Fails where a framework loops over experts or over time, naming those operators: how many kernels
// that makes is not known here.
void require_eager_kernels(const Plan&);

// eager-full, on a device whose host takes host_launch_s per library kernel and host_jit_launch_s
// per kernel compiled at run time. docs/prediction.md has the table of kernels. Of a plan that
// require_eager_kernels accepts.
Launches eager_launches(const DeviceProfile&, const EagerOptions&);

// What the mask takes at its peak, while it is made: two of 16 bits and two of 8 bits per pair.
int64_t eager_mask_bytes(const EagerOptions&, int64_t batch, int64_t positions);

// What is alive at the worst moment of the pass, the making of the mask included. Beside the plan's
// tensors: where logits are scaled or capped, what they were before; the workspace of the matrix
// library. Caches and states only where the pass makes some.
MemoryByTag eager_memory(const Plan&, const EagerOptions&, const DeviceProfile&);

// The workload of such a pass: whole sequence, all logits, 16 bits.
Workload eager_workload(Workload);

}  // namespace tidemark
