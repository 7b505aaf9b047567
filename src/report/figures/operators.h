// Operator times summed by figure group.
#pragma once

#include <array>

#include "record/record.h"
#include "report/grouping.h"

namespace tidemark {

struct GroupTimes {
  std::array<double, all_groups.size()> time_s{};  // by Group
  double gap_s = 0;
  double of(Group g) const { return time_s[static_cast<size_t>(g)]; }
};

GroupTimes group_times(const OperatorProfile&);

}  // namespace tidemark
