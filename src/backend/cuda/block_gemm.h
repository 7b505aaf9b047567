// Block-diagonal matrix product: every block of columns has a weight of its own.
#pragma once

#include <cstdint>
#include <string_view>

#include "backend/cuda/queue.h"
#include "base/vocab.h"

namespace tidemark::cuda {

// out[m, g*N + j] = sum_i x[m, g*K + i] * weight[g*K + i, j] + bias[g*N + j] for every block g.
// Pointers are to device memory; strides are of rows, in elements; all have `dtype`.
struct BlockGemmArgs {
  const void* x = nullptr;       // [m, blocks * k]
  const void* weight = nullptr;  // [blocks * k, n]: inputs as rows
  const void* bias = nullptr;    // [blocks * n], or null
  void* out = nullptr;           // [m, blocks * n]
  int64_t x_stride = 0, weight_stride = 0, out_stride = 0;
  int64_t m = 0;
  int32_t blocks = 0, n = 0, k = 0;
  DType dtype = DType::f32;
};

enum class BlockGemmKernel { few, plain, tensor };
BlockGemmKernel choose_block_gemm(const BlockGemmArgs&);
std::string_view name(BlockGemmKernel);
void launch_block_gemm(const BlockGemmArgs&, BlockGemmKernel, const Queue&);

}  // namespace tidemark::cuda
