#include "plan/pass.h"

#include "base/error.h"

namespace tidemark {
namespace {

// `step` by value: its past moves.
void add_step(Step step, int64_t past, const Plan& plan, std::vector<PassRow>& rows) {
  set_past(step, past);
  for (size_t i = 0; i < step.nodes.size(); ++i) {
    if (rows[i].node->op.index() != step.nodes[i].op.index() ||
        rows[i].node->layer != step.nodes[i].layer)
      fail("plan: body and tail differ at operator {}", i);
    rows[i].cost += cost(step.nodes[i].op, plan);
    ++rows[i].calls;
  }
}

std::vector<PassRow> rows_of(const Step& step) {
  std::vector<PassRow> rows;
  for (const Node& node : step.nodes) rows.push_back({&node, {}, 0});
  return rows;
}

}  // namespace

std::vector<PassRow> prefill_rows(const Plan& plan) {
  std::vector<PassRow> rows = rows_of(plan.step(StepKind::tail));
  for (int64_t i = 0; i < plan.body_count; ++i)
    add_step(plan.step(StepKind::body), i * plan.workload.chunk, plan, rows);
  add_step(plan.step(StepKind::tail), plan.body_count * plan.workload.chunk, plan, rows);
  return rows;
}

std::vector<PassRow> decode_rows(const Plan& plan, int64_t past) {
  std::vector<PassRow> rows = rows_of(plan.step(StepKind::decode));
  add_step(plan.step(StepKind::decode), plan.meta_tokens + past, plan, rows);
  return rows;
}

Cost total(const std::vector<PassRow>& rows) {
  Cost sum;
  for (const PassRow& row : rows) sum += row.cost;
  return sum;
}

}  // namespace tidemark
