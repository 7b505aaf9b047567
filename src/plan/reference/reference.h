// The scalar reference of every operator: the definition that kernels are tested against and that,
// run with Counted, says what cost() must say. run(op, memory) is overloaded by operator.
#pragma once

#include "plan/reference/attention.h"
#include "plan/reference/dense.h"
#include "plan/reference/moe.h"
#include "plan/reference/recurrent.h"
#include "plan/reference/ssm.h"

namespace tidemark::reference {

template <class T>
void run_op(const Op& op, Memory<T>& memory) {
  std::visit([&](const auto& concrete) { run(concrete, memory); }, op);
}

}  // namespace tidemark::reference
