// A matrix product for what cuBLASLt refuses or cannot express: rows that are not even 4-byte
// aligned, a bias under a scale. Plain fp32 arithmetic.
#pragma once

#include "backend/cuda/gemm.h"

namespace tidemark::cuda {

void launch_gemm_plain(const GemmArgs&, const Queue&);

}  // namespace tidemark::cuda
