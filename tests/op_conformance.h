// Every operator of a backend against its scalar reference in double.
#pragma once

#include "backend/backend.h"
#include "base/vocab.h"

namespace tidemark {

// Of |out - ref|_2 / |ref|_2, by the dtype of the tensor written. The scalar references round
// nowhere; bf16 storage alone rounds once per result. State is fp32 always, and may yet be summed
// from products of bf16.
struct Tolerance {
  double f32, bf16, state;
};

// Runs the table of op_cases.h. What an operator does not write must be left alone, and what memory
// is planned must be used.
void expect_conforming(Backend&, DType, const Tolerance&);

}  // namespace tidemark
