// What an operator looks like to a reader.
#pragma once

#include <string>

#include "plan/ops.h"

namespace tidemark {

// The sizes that matter, e.g. "512x896 . 1152x896^T +bias" for a Gemm.
std::string shape_text(const Op&);

}  // namespace tidemark
