#include "plan/pass.h"

#include "base/error.h"

namespace tidemark {
namespace {

constexpr int64_t most_steps = int64_t{1} << 22;  // more take minutes to add up

void add(PassRow& row, const Cost& cost, int64_t times) {
  row.cost += {cost.ops * times, cost.bytes_read * times, cost.bytes_written * times};
  row.calls += times;
}

// `steps` of them, the first at `past`.
void add_steps(const Step& step, int64_t past, int64_t steps, const Plan& plan,
               std::vector<PassRow>& rows) {
  for (size_t i = 0; i < step.nodes.size(); ++i) {
    Op op = step.nodes[i].op;
    if (rows[i].node->op.index() != op.index() || rows[i].node->layer != step.nodes[i].layer)
      fail("plan: body and tail differ at operator {}", i);
    std::visit(
        [&](auto& o) {
          if constexpr (requires { o.past; }) {
            for (int64_t s = 0; s < steps; ++s) {
              o.past = past + s * step.length;
              add(rows[i], cost(op, plan), 1);
            }
          } else {  // each step costs the same
            add(rows[i], cost(op, plan), steps);
          }
        },
        op);
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
  if (plan.body_count > most_steps)
    fail("chunk: expected at most {} steps in a prefill that is added up, found {}", most_steps,
         plan.body_count + 1);
  if (plan.body_count > 0) add_steps(plan.step(StepKind::body), 0, plan.body_count, plan, rows);
  add_steps(plan.step(StepKind::tail), plan.body_count * plan.workload.chunk, 1, plan, rows);
  return rows;
}

std::vector<PassRow> decode_rows(const Plan& plan, int64_t past) {
  std::vector<PassRow> rows = rows_of(plan.step(StepKind::decode));
  add_steps(plan.step(StepKind::decode), plan.meta_tokens + past, 1, plan, rows);
  return rows;
}

Cost total(const std::vector<PassRow>& rows) {
  Cost sum;
  for (const PassRow& row : rows) sum += row.cost;
  return sum;
}

}  // namespace tidemark
