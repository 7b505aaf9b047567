#include "plan/ops.h"

#include "plan/plan.h"

namespace tidemark {
namespace {

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};

constexpr std::string_view op_names[] = {
    "embedding", "norm",      "gated_norm", "gemm",           "glu", "activation",  "rope",
    "kv_append", "attention", "conv1d",     "selective_scan", "ssd", "select_last", "argmax"};
static_assert(std::size(op_names) == std::variant_size_v<Op>);

}  // namespace

std::string_view name(const Op& op) {
  return op_names[op.index()];
}

Category category(const Op& op) {
  return std::visit(Overloaded{
                        [](const Embedding&) { return Category::embedding; },
                        [](const Norm&) { return Category::norm; },
                        [](const GatedNorm&) { return Category::norm; },
                        [](const Gemm&) { return Category::gemm; },
                        [](const Glu&) { return Category::elementwise; },
                        [](const Activation&) { return Category::elementwise; },
                        [](const Rope&) { return Category::rope; },
                        [](const KvAppend&) { return Category::memory; },
                        [](const Attention&) { return Category::attention; },
                        [](const Conv1d&) { return Category::conv; },
                        [](const SelectiveScan&) { return Category::ssm_scan; },
                        [](const Ssd&) { return Category::ssm_scan; },
                        [](const SelectLast&) { return Category::memory; },
                        [](const Argmax&) { return Category::sampling; },
                    },
                    op);
}

Touched touched(const Op& op) {
  Touched result;
  auto reads = [&](auto... operands) {
    ((operands ? result.reads.push_back(operands.tensor) : void()), ...);
  };
  auto writes = [&](auto... operands) {
    ((operands ? result.writes.push_back(operands.tensor) : void()), ...);
  };
  std::visit(
      Overloaded{
          [&](const Embedding& o) { reads(o.ids, o.table), writes(o.out); },
          [&](const Norm& o) { reads(o.x, o.weight, o.bias), writes(o.out); },
          [&](const GatedNorm& o) { reads(o.x, o.z, o.weight), writes(o.out); },
          [&](const Gemm& o) {
            reads(o.x, o.weight, o.bias), writes(o.out);
            if (o.accumulate) reads(o.out);
          },
          [&](const Glu& o) { reads(o.gate, o.up), writes(o.out); },
          [&](const Activation& o) { reads(o.x), writes(o.out); },
          [&](const Rope& o) { reads(o.q, o.k, o.v), writes(o.q, o.k, o.k_cache, o.v_cache); },
          [&](const KvAppend& o) { reads(o.k, o.v), writes(o.k_cache, o.v_cache); },
          [&](const Attention& o) { reads(o.q, o.k, o.v, o.k_cache, o.v_cache), writes(o.out); },
          [&](const Conv1d& o) { reads(o.x, o.weight, o.bias, o.state), writes(o.state, o.out); },
          [&](const SelectiveScan& o) {
            reads(o.x, o.dt, o.b, o.c, o.z, o.a_log, o.d_skip, o.dt_bias, o.state);
            writes(o.state, o.out);
          },
          [&](const Ssd& o) {
            reads(o.x, o.dt, o.b, o.c, o.a_log, o.d_skip, o.dt_bias, o.state);
            writes(o.state, o.out);
          },
          [&](const SelectLast& o) { reads(o.x), writes(o.out); },
          [&](const Argmax& o) { reads(o.logits), writes(o.ids); },
      },
      op);
  return result;
}

}  // namespace tidemark
