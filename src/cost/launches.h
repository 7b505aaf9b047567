// How an engine runs an operator: as which kernels.
#pragma once

#include <functional>
#include <vector>

#include "cost/work.h"

namespace tidemark {

struct Launch {
  Work work;
  double host_s = 0;  // the host takes so long to issue it; 0: queued ahead, as in a graph
};

// The kernels of one operator of a step, in order.
using Launches = std::function<std::vector<Launch>(const Node&, const Plan&)>;

}  // namespace tidemark
