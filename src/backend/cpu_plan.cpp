#include "backend/cpu_plan.h"

#include <algorithm>

namespace tidemark {

void choose_cpu_forms(Plan& plan) {
  constexpr int64_t most_tokens = 128;
  for (Step& step : plan.steps)
    for (Node& node : step.nodes)
      if (auto* ssd = std::get_if<Ssd>(&node.op)) ssd->chunk = std::min(ssd->chunk, most_tokens);
}

}  // namespace tidemark
