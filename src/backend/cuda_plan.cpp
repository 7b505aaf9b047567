#include "backend/cuda_plan.h"

#include <algorithm>

namespace tidemark {

namespace cuda {

int64_t gemm_workspace_bytes(int64_t m, int64_t n) {
  // Enough for four partial products of a split k; the libraries' own advice for Hopper is 32 MiB.
  constexpr int64_t mebibyte = 1 << 20;
  return std::clamp(m * n * 4 * int64_t{sizeof(float)}, mebibyte, 32 * mebibyte);
}

}  // namespace cuda

namespace {

// As choose_ssd() and gated_delta_chunked_supports() of backend/cuda/ decide, alignment aside.
bool has_blocks(const Ssd& op, int64_t block_shared_bytes) {
  constexpr int64_t shared_of_256 = 182528;  // one head at a time
  const bool has_state = op.state_size == 64 || op.state_size == 128 ||
                         (op.state_size == 256 && block_shared_bytes >= shared_of_256);
  return has_state && op.head_dim % 64 == 0 && op.length > 16;
}
bool has_blocks(const GatedDelta& op, int64_t) {
  const auto has = [](int64_t dim) { return dim == 64 || dim == 128; };
  return has(op.key_dim) && has(op.value_dim) && op.length >= cuda::chunk_tokens;
}

}  // namespace

void choose_cuda_forms(Plan& plan, int64_t block_shared_bytes) {
  const bool chunked = activation_dtype(plan.workload.dtype) == DType::bf16;
  for (Step& step : plan.steps)
    for (Node& node : step.nodes)
      std::visit(
          [&](auto& op) {
            if constexpr (requires { op.form = SsdForm::recurrence; }) {
              if (op.form != SsdForm::chunked) return;
              if (chunked && has_blocks(op, block_shared_bytes))
                op.chunk = cuda::chunk_tokens;
              else
                op.form = SsdForm::recurrence;
            }
          },
          node.op);
}

MemoryLayout layout_on_cuda(const Plan& plan) {
  return layout_memory(plan, [](const Node& node) {
    const auto* gemm = std::get_if<Gemm>(&node.op);
    return gemm && gemm->m > cuda::gemv_max_rows ? cuda::gemm_workspace_bytes(gemm->m, gemm->n)
                                                 : int64_t{0};
  });
}

}  // namespace tidemark
