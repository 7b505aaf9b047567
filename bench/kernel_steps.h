// Steps of one operator at shapes of real models, to be run through the CPU backend and timed. A
// step holds several copies of the operator with weights, caches and states of their own, as layers
// have, so that decode finds them as cold as users do. Values are drawn, never zero.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "backend/backend.h"
#include "plan/plan.h"

namespace tidemark {

// The plan of a step while its operators are written.
struct StepBuilder {
  Plan plan;
  DType dtype;

  Operand add(const char* name, Tag tag, int64_t rows, int64_t cols, DType type) {
    return add_tensor(plan, {name, tag, type, rows, cols});
  }
  Operand act(int64_t rows, int64_t cols) {
    return add("act", Tag::activation, rows, cols, activation_dtype(dtype));
  }
  Operand weight(int64_t rows, int64_t cols) {
    return add("weight", Tag::weights, rows, cols, activation_dtype(dtype));
  }
  Operand state(Tag tag, int64_t rows, int64_t cols, DType type) {
    return add("state", tag, rows, cols, type);
  }
  void emit(Op op) { plan.step(StepKind::tail).nodes.push_back({std::move(op), Role::embed, 0}); }
};

using Build = std::function<void(StepBuilder&)>;

Build gemm(int64_t m, int64_t n, int64_t k);
Build attention(int64_t batch, int64_t length, int64_t past, int64_t heads, int64_t kv_heads,
                int64_t dim, int64_t window);
Build ssd(SsdForm form, int64_t batch, int64_t length, int64_t heads, int64_t state, int64_t chunk);
Build scan(int64_t batch, int64_t length, int64_t channels);
Build gated_delta(SsdForm form, int64_t batch, int64_t length);
Build experts(int64_t rows, int64_t experts, int64_t top_k, int64_t width, int64_t hidden);
Build rg_lru(int64_t length);
Build block_gemm(int64_t m);
Build conv(int64_t length, int64_t channels);
Build rope(int64_t length, int64_t past, int64_t heads, int64_t kv_heads, int64_t dim);
Build norm(int64_t rows, int64_t width);
Build gated_norm(int64_t rows, int64_t width);

// `copies` of the operator at `past`, ready to run.
struct KernelStep {
  Plan plan;
  int64_t past;
  std::unique_ptr<Backend> backend;
  Cost cost;  // of all copies
  void run() const { backend->run_step(StepKind::tail, past, nullptr); }
};
KernelStep make_step(DType dtype, int threads, int copies, int64_t past, const Build& build);

}  // namespace tidemark
