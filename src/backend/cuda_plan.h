// What the CUDA backend makes of a plan, told without a GPU: predictions price and lay out what
// would run there. backend/cuda/ takes its numbers from here.
#pragma once

#include <cstdint>

#include "plan/memory.h"
#include "plan/plan.h"

namespace tidemark {

namespace cuda {

// Products of at most so many rows run at memory speed without scratch.
inline constexpr int32_t gemv_max_rows = 8;
// Scratch that cuBLASLt may use for a product of m x n; algorithms that want more are not
// considered.
int64_t gemm_workspace_bytes(int64_t m, int64_t n);
// Tokens that chunked forms turn into matrix products at a time, whatever the model's own chunk.
inline constexpr int chunk_tokens = 64;

}  // namespace cuda

// Sets the forms of recurrences over many tokens: in blocks of 64 in bf16 where the kernels have
// the sizes and a thread block may share as much memory as they take, else token by token
// (docs/cuda.md, "What it computes").
void choose_cuda_forms(Plan&, int64_t block_shared_bytes);

// Where tensors and scratch lie. Scratch is that of products: other kernels need less wherever a
// step has a product of more than a few rows. It equals a run's to the byte in every cell of
// data/measured.
MemoryLayout layout_on_cuda(const Plan&);

}  // namespace tidemark
