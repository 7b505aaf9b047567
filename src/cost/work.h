// What a kernel of an operator has to do, split by what limits it.
#pragma once

#include "device/profile.h"
#include "plan/plan.h"

namespace tidemark {

struct Work {
  KernelClass kind = KernelClass::stream;
  DType dtype = DType::f32;  // of the matrix products' operands
  double matrix_ops = 0;     // multiply-adds (two each) that a matrix unit can do
  double special_ops = 0;    // exponentials
  double vector_ops = 0;     // the rest of cost()'s operations
  double cold_bytes = 0;     // weights, caches and carried states: last touched a step ago
  double warm_bytes = 0;     // activations, which the operator before has just touched
  double tiles = 0;          // blocks that run side by side; 0: as many as the device wants
  double ops() const { return matrix_ops + special_ops + vector_ops; }
  double bytes() const { return cold_bytes + warm_bytes; }
};
// `share` of the work, as if it were split among kernels.
Work operator*(const Work&, double share);
// Amounts added; of one kind, that of the right-hand side.
Work& operator+=(Work&, const Work&);

// ops() and bytes() are those of cost(). Exponentials are told apart where they set the pace: in
// attention and in the scan.
Work work(const Op&, const Plan&);

}  // namespace tidemark
