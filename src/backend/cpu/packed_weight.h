// Weights of bf16 products in the order in which units for bf16 read them, so that no product lays
// out anew what never changes. A weight [n, k] takes the bytes it takes as rows: groups of 16 rows,
// each [k / 2][16][2], so that a tile of 16 rows and 32 columns lies in one piece, and behind them
// up to 15 rows as they are. Decode streams it from end to end.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/cpu/context.h"
#include "plan/ops.h"

namespace tidemark::cpu {

inline constexpr int64_t packed_rows = 16, packed_depth = 32;  // k is a multiple of packed_depth

constexpr int64_t rows_in_groups(int64_t n) {
  return n / packed_rows * packed_rows;
}

// Whether the weight of a Gemm is kept packed: where the machine has a unit for bf16 and every
// product that reads it takes all of it.
bool is_packed(const Gemm&, const CpuContext&);
// The same of every tensor of a plan, for CpuContext::packed.
std::vector<bool> packed_weights(const CpuContext&);

// Elements [first, first + count) of the rows of a weight [n, k] to where they lie packed, and
// back.
void pack(const Bf16* from, int64_t first, int64_t count, int64_t n, int64_t k, Bf16* weight);
void unpack(const Bf16* weight, int64_t first, int64_t count, int64_t n, int64_t k, Bf16* to);

}  // namespace tidemark::cpu
