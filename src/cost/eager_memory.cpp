// What a framework's allocator holds at the worst moment of a pass, cost/eager.h.
#include <algorithm>
#include <set>

#include "cost/eager.h"
#include "plan/live_memory.h"

namespace tidemark {
namespace {

// Norms of transformers compute in f32: the vectors and their squares, with a gate the vectors, the
// gate and its silu. What a norm gives is made when those are gone, so it takes no more.
int64_t norm_bytes(const Node& node) {
  if (const auto* norm = std::get_if<Norm>(&node.op)) {
    if (norm->kind == NormKind::layer) return 0;
    const bool in_place = norm->x.tensor == norm->out.tensor;
    return norm->rows * norm->groups * norm->width * (in_place ? 4 + 4 : 4 + 4 - 2);
  }
  if (const auto* gated = std::get_if<GatedNorm>(&node.op))
    return gated->rows * gated->groups * gated->width * (4 + 4 + 4);
  return 0;
}
int64_t no_bytes(const Node&) {
  return 0;
}

// PyTorch gives cuBLAS a workspace at its first product and keeps it (getChosenWorkspaceSize):
// :4096:2:16:8 in KiB, on Hopper, where alone a block may share 227 KB, 32 MiB.
int64_t cublas_workspace_bytes(const DeviceProfile& profile) {
  constexpr int64_t kib = 1024;
  if (profile.kind != DeviceKind::gpu) return 0;
  const bool hopper =
      profile.block_shared_bytes && profile.block_shared_bytes->value >= 227.0 * kib;
  return hopper ? 32 * kib * kib : 2 * 4096 * kib + 8 * 16 * kib;
}

// DynamicCache appends: also of a layer with a window, whose cache is a ring here.
int64_t kv_cache_bytes(const Plan& plan) {
  const int64_t positions = plan.prompt() + plan.workload.new_tokens - 1;
  std::set<TensorId> seen;
  int64_t bytes = 0;
  for (const Node& node : plan.step(StepKind::tail).nodes)
    if (const auto* attention = std::get_if<Attention>(&node.op))
      for (const TensorId id : {attention->k_cache.tensor, attention->v_cache.tensor})
        if (seen.insert(id).second)
          bytes +=
              size_bytes(plan.tensors[static_cast<size_t>(id)]) / attention->capacity * positions;
  return bytes;
}

// A pass that is given no cache makes one or does without; states of transformers' caches are in
// the model's dtype, ours in f32.
void keep_as_there(MemoryByTag& memory, const EagerOptions& options, int64_t kv_bytes) {
  memory[Tag::ssm_state] /= 2;
  memory[Tag::kv_cache] = kv_bytes;
  if (options.keeps_cache) return;
  for (const Tag tag : {Tag::kv_cache, Tag::ssm_state, Tag::conv_state}) memory[tag] = 0;
}

int64_t mask_bytes(const EagerOptions& options, const Plan& plan, int64_t bytes_per_pair) {
  const int64_t positions = plan.prompt();
  if (options.masked_from == 0 || positions < options.masked_from) return 0;
  // No device has more; tags are still to be added up.
  constexpr Count most = Count{1} << 60;
  const Count pairs = Count{plan.workload.batch} * positions * positions;
  return static_cast<int64_t>(std::min(bytes_per_pair * pairs, most));
}

// A product and what it is scaled or capped to are two tensors while the second is made.
bool remakes_logits(const Node& node) {
  const auto* gemm = std::get_if<Gemm>(&node.op);
  return std::holds_alternative<SoftCap>(node.op) ||
         (gemm && node.role == Role::lm_head && gemm->scale != 1.0F);
}

}  // namespace

MemoryByTag eager_memory(const Plan& plan, const EagerOptions& options,
                         const DeviceProfile& profile) {
  const std::vector<Node>& nodes = plan.step(StepKind::tail).nodes;
  const std::vector<MemoryByTag> live =
      live_memory(plan, StepKind::tail, options.fused_norms ? no_bytes : norm_bytes);
  const int64_t mask = mask_bytes(options, plan, options.mask_bytes);
  const int64_t kv_bytes = kv_cache_bytes(plan);
  const int64_t library = cublas_workspace_bytes(profile);
  // No layer has run while the mask is made: weights, states and the embedded prompt.
  MemoryByTag peak = live.front();
  keep_as_there(peak, options, 0);
  peak[Tag::workspace] = library + mask_bytes(options, plan, options.mask_making_bytes);
  for (size_t i = 0; i < nodes.size(); ++i) {
    MemoryByTag memory = live[i];
    keep_as_there(memory, options, kv_bytes);
    // The model's forward ends before the head, and its mask with it.
    memory[Tag::workspace] += library + (nodes[i].layer >= 0 ? mask : 0);
    if (remakes_logits(nodes[i])) memory[Tag::logits] *= 2;
    if (memory.total() > peak.total()) peak = memory;
  }
  return peak;
}

}  // namespace tidemark
