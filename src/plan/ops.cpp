#include "plan/ops.h"

#include "plan/plan.h"

namespace tidemark {
namespace {

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <class... Fs>  // clang 14 does not deduce aggregates yet
Overloaded(Fs...)->Overloaded<Fs...>;

constexpr std::string_view op_names[] = {
    "embedding", "add",         "norm",      "gated_norm",  "gemm",   "block_gemm",
    "glu",       "activation",  "row_gate",  "soft_cap",    "route",  "expert_gemm",
    "combine",   "rope",        "kv_append", "attention",   "conv1d", "selective_scan",
    "ssd",       "gated_delta", "rg_lru",    "select_last", "argmax"};
static_assert(std::size(op_names) == std::variant_size_v<Op>);

}  // namespace

std::string_view name(const Op& op) {
  return op_names[op.index()];
}

Category category(const Op& op) {
  return std::visit(Overloaded{
                        [](const Embedding&) { return Category::embedding; },
                        [](const Add& o) { return o.y ? Category::elementwise : Category::memory; },
                        [](const Norm&) { return Category::norm; },
                        [](const GatedNorm&) { return Category::norm; },
                        [](const Gemm&) { return Category::gemm; },
                        [](const BlockGemm&) { return Category::gemm; },
                        [](const Glu&) { return Category::elementwise; },
                        [](const Activation&) { return Category::elementwise; },
                        [](const RowGate&) { return Category::elementwise; },
                        [](const SoftCap&) { return Category::elementwise; },
                        [](const Route&) { return Category::elementwise; },
                        [](const ExpertGemm&) { return Category::gemm; },
                        [](const Combine&) { return Category::elementwise; },
                        [](const Rope&) { return Category::rope; },
                        [](const KvAppend&) { return Category::memory; },
                        [](const Attention&) { return Category::attention; },
                        [](const Conv1d&) { return Category::conv; },
                        [](const SelectiveScan&) { return Category::ssm_scan; },
                        [](const Ssd&) { return Category::ssm_scan; },
                        [](const GatedDelta&) { return Category::ssm_scan; },
                        [](const RgLru&) { return Category::ssm_scan; },
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
          [&](const Embedding& o) { reads(o.ids, o.table, o.scales, o.positions), writes(o.out); },
          [&](const Add& o) { reads(o.x, o.y), writes(o.out); },
          [&](const Norm& o) { reads(o.x, o.weight, o.bias), writes(o.out); },
          [&](const GatedNorm& o) { reads(o.x, o.z, o.weight), writes(o.out); },
          [&](const Gemm& o) {
            reads(o.x, o.weight, o.scales, o.bias), writes(o.out);
            if (o.accumulate) reads(o.out);
          },
          [&](const BlockGemm& o) { reads(o.x, o.weight, o.bias), writes(o.out); },
          [&](const Glu& o) { reads(o.gate, o.up), writes(o.out); },
          [&](const Activation& o) { reads(o.x), writes(o.out); },
          [&](const RowGate& o) { reads(o.gate, o.x), writes(o.out); },
          [&](const SoftCap& o) { reads(o.x), writes(o.x); },
          [&](const Route& o) {
            reads(o.logits, o.bias), writes(o.weights, o.token, o.position, o.first);
          },
          [&](const ExpertGemm& o) {
            reads(o.x, o.weight, o.scales, o.token, o.first), writes(o.out);
          },
          [&](const Combine& o) {
            reads(o.x, o.weights, o.position), writes(o.out);
            if (o.accumulate) reads(o.out);
          },
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
          [&](const GatedDelta& o) {
            reads(o.q, o.k, o.v, o.a, o.b, o.a_log, o.dt_bias, o.state);
            writes(o.state, o.out);
          },
          [&](const RgLru& o) {
            reads(o.x, o.input_gate, o.recurrent_gate, o.param, o.state);
            writes(o.state, o.out);
          },
          [&](const SelectLast& o) { reads(o.x), writes(o.out); },
          [&](const Argmax& o) { reads(o.logits), writes(o.ids); },
      },
      op);
  return result;
}

}  // namespace tidemark
