#include "measure/operator_rows.h"

#include <numeric>

#include "plan/pass.h"

namespace tidemark {

PhaseRows phase_rows(const Plan& plan, Phase phase) {
  PhaseRows result;
  if (phase == Phase::decode && plan.workload.new_tokens == 1) return result;
  const std::vector<PassRow> pass =
      phase == Phase::prefill ? prefill_rows(plan) : decode_rows(plan, plan.workload.context);
  for (const PassRow& row : pass)
    result.rows.push_back({.index = static_cast<int64_t>(result.rows.size()),
                           .op = std::string(name(row.node->op)),
                           .category = category(row.node->op),
                           .role = row.node->role,
                           .layer = row.node->layer,
                           .calls = row.calls,
                           .ops = saturated(row.cost.ops),
                           .bytes_read = saturated(row.cost.bytes_read),
                           .bytes_written = saturated(row.cost.bytes_written)});
  // Node i of every step of a phase is row i: the body has the tail's operators without the head.
  const auto fill = [&](StepKind kind) {
    auto& row_of = result.row_of[static_cast<size_t>(kind)];
    row_of.resize(plan.step(kind).nodes.size());
    std::iota(row_of.begin(), row_of.end(), size_t{0});
  };
  if (phase == Phase::prefill) {
    fill(StepKind::body);
    fill(StepKind::tail);
  } else {
    fill(StepKind::decode);
  }
  return result;
}

}  // namespace tidemark
