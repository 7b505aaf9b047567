// Weights of bf16 products in the order in which units for bf16 read them, so that no product lays
// out anew what never changes. A weight [n, k] takes the bytes it takes as rows: panels of 64 rows,
// each [k / 2][64][2], then a narrower one of 16, 32 or 48 rows, then up to 15 rows as they are.
// Decode streams it from end to end.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "backend/cpu/context.h"
#include "plan/ops.h"

namespace tidemark::cpu {

inline constexpr int64_t packed_rows = 64, packed_depth = 32;  // k is a multiple of

// Rows in panels, of which the last may be narrower.
constexpr int64_t rows_in_panels(int64_t n) {
  return n / 16 * 16;
}
constexpr int64_t panel_rows(int64_t panel, int64_t n) {
  return std::min(packed_rows, rows_in_panels(n) - panel * packed_rows);
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
