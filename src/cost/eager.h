// How a framework runs the same plan: one whole-sequence pass with the logits of all positions,
// elementwise operators as separate kernels, every kernel launched by the host on its own.
#pragma once

#include <string>

#include "base/memory_by_tag.h"
#include "cost/launches.h"
#include "model/spec.h"

namespace tidemark {

struct EagerOptions {
  // From this many positions on the framework holds the causal mask in memory, and attention visits
  // all pairs; 0: never. PyTorch's fused causal attention takes no window, so Hugging Face
  // transformers (4.40 to 4.50, AttentionMaskConverter) makes a mask once the keys reach the
  // config's sliding_window, even where use_sliding_window is false. Jamba's _update_causal_mask,
  // which Zamba2 and Nemotron-H have too, makes one at any length.
  int64_t masked_from = 0;
  // Bytes per pair while the mask is made, and of the mask, through all layers. In the order they
  // are made, the tokenizer's mask of padding given:
  // - where masked_from is a window, the mask 2, its triangle 1, the window's 1 unless the config
  //   switches it off, mask plus padding 2, the zeros of that 1;
  // - jamba: the mask 2, the padding 1, the filled mask 2;
  // - hymba: the mask 2, of the padding 16 bits 2, inverted 2, as bool 1, filled 2.
  int64_t mask_making_bytes = 6, mask_bytes = 2;
  // A model without attention runs in the state-space library (mamba_ssm): norm and residual are
  // one kernel compiled at run time. Any other is transformers, whose norms are eight.
  bool fused_norms = false;
  // Whether a forward pass that is given no cache makes one. mamba_ssm does not, nor do models of
  // transformers that "require an initialized cache" to return one (modeling_bamba.py and the
  // like).
  bool keeps_cache = true;
  // Falcon-H1 multiplies by constants what goes into its projections and what comes out, each time
  // by a kernel; here they are in the weights.
  bool multiplies = false;
};
EagerOptions eager_options(const ModelSpec&);

// Names the operators that make a framework loop over experts or over time: how many kernels that
// makes is not known here. Empty where there are none.
std::string missing_eager_kernels(const Plan&);

// eager-full, on a device whose host takes host_launch_s per library kernel and host_jit_launch_s
// per kernel compiled at run time. docs/prediction.md has the table of kernels. Of a plan that
// misses none.
Launches eager_launches(const DeviceProfile&, const EagerOptions&);

// What is alive at the worst moment of the pass, the making of the mask included. Beside the plan's
// tensors: where logits are scaled or capped, what they were before; the workspace of the matrix
// library. Caches and states only where the pass makes some.
MemoryByTag eager_memory(const Plan&, const EagerOptions&, const DeviceProfile&);

// The workload of such a pass: whole sequence, all logits, 16 bits.
Workload eager_workload(Workload);

}  // namespace tidemark
