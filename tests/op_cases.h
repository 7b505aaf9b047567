// One-operator plans over awkward shapes: odd sizes, batch > 1, views into wider tensors, a fresh
// and a continued sequence. Shared by the cost test and by every backend's conformance test.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "plan/plan.h"

namespace tidemark {

struct OpCase {
  std::string name;
  Plan plan;                                          // tensors, and one node in steps[tail]
  std::map<TensorId, std::vector<int32_t>> integers;  // contents of the i32 tensors it reads
  const Node& node() const { return plan.step(StepKind::tail).nodes.front(); }
  DType dtype = DType::f32;
};

// Every operator over its shapes in a model's `dtype`: with 8-bit weights those that have some.
std::vector<OpCase> op_cases(DType dtype);

}  // namespace tidemark
