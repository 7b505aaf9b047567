#include "measure/operator_rows.h"

#include <map>
#include <tuple>

namespace tidemark {
namespace {

// The same operator in the body and in the tail: same place, same kind, and among several such in
// one layer the same turn.
using Key = std::tuple<int32_t, Role, std::string_view, int64_t>;

std::vector<Key> keys_of(const Step& step) {
  std::map<Key, int64_t> turns;
  std::vector<Key> keys;
  for (const Node& node : step.nodes) {
    Key key{node.layer, node.role, name(node.op), 0};
    std::get<3>(key) = turns[key]++;
    keys.push_back(key);
  }
  return keys;
}

}  // namespace

PhaseRows phase_rows(const Plan& plan, Phase phase) {
  PhaseRows result;
  std::map<Key, size_t> row_of_key;

  // Adds `calls` calls of every node of a step, call i at past `first_past + i * length`.
  const auto add = [&](StepKind kind, int64_t calls, int64_t first_past) {
    Step step = plan.step(kind);
    const auto keys = keys_of(step);
    auto& row_of = result.row_of[static_cast<size_t>(kind)];
    for (size_t i = 0; i < keys.size(); ++i) {
      const auto [found, is_new] = row_of_key.try_emplace(keys[i], result.rows.size());
      row_of.push_back(found->second);
      if (!is_new) continue;
      const Node& node = step.nodes[i];
      result.rows.push_back({.index = static_cast<int64_t>(found->second),
                             .op = std::string(name(node.op)),
                             .category = category(node.op),
                             .role = node.role,
                             .layer = node.layer});
    }
    for (int64_t call = 0; call < calls; ++call) {
      set_past(step, first_past + call * step.length);
      for (size_t i = 0; i < keys.size(); ++i) {
        OperatorRow& row = result.rows[row_of[i]];
        const Cost c = cost(step.nodes[i].op, plan);
        row.calls += 1;
        row.ops += c.ops;
        row.bytes_read += c.bytes_read;
        row.bytes_written += c.bytes_written;
      }
    }
  };

  const int64_t context = plan.workload.context;
  if (phase == Phase::decode) {
    if (plan.workload.new_tokens > 1) add(StepKind::decode, 1, context);
    return result;
  }
  // The tail first: it has every operator of the body and the head, in order.
  const int64_t tail_length = plan.step(StepKind::tail).length;
  add(StepKind::tail, 1, context - tail_length);
  if (plan.body_count > 0) add(StepKind::body, plan.body_count, 0);
  return result;
}

}  // namespace tidemark
