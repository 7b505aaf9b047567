// A product that a gate follows, which backends may run as one.
#pragma once

#include "plan/ops.h"

namespace tidemark {

// Whether the gate takes all of the product's result: its first half is activated, its second is
// what that is multiplied by.
inline bool gates_halves(const Glu& glu, const Gemm& gemm) {
  return glu.rows == gemm.m && 2 * glu.width == gemm.n && glu.gate == gemm.out &&
         glu.up == columns_from(gemm.out, glu.width);
}

}  // namespace tidemark
