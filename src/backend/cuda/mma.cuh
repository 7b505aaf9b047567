// Tensor-core pieces shared by the attention kernels: bf16 m16n8k16 products (sm_80 on).
#pragma once

#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {

// d[16 x 8] += a[16 x 16] b[16 x 8]. Lane l with g = l / 4, c = l % 4 holds of a: rows g and g + 8
// of columns 2c, 2c+1 (a0, a1), then of columns 2c+8, 2c+9 (a2, a3); of b: column g, rows 2c, 2c+1
// (b0) and 2c+8, 2c+9 (b1); of d: row g, columns 2c, 2c+1 (d0, d1), row g + 8 (d2, d3).
__device__ inline void mma_bf16(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Scores that no key may have: finite, so that a difference of two is no NaN.
inline constexpr float masked_score = -1e30F;

}  // namespace tidemark::cuda
