// Every recorded checkpoint of tests/data/golden on a backend.
#pragma once

#include "backend/backend.h"
#include "base/vocab.h"

namespace tidemark {

// In chunks of 1, 7 and 16 and whole; tolerances are those of `tidemark verify`, in bf16 those that
// rounding leaves to each checkpoint.
void expect_golden_folders(Backend&, DType);

}  // namespace tidemark
