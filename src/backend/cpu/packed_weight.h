// Weights in the order in which units for bf16 and integers of 8 bits read them, so that no product
// lays out anew what never changes. A weight [n, k] takes the bytes it takes as rows: groups of 16
// rows, each [k / 2][16][2] of bf16 or [k / 4][16][4] of 8 bits, so that a tile of 16 rows of 64
// bytes lies in one piece, and behind them up to 15 rows as they are. Decode streams it from end to
// end.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/cpu/context.h"
#include "plan/ops.h"

namespace tidemark::cpu {

inline constexpr int64_t packed_rows = 16, packed_depth = 32;  // bf16, or pairs of 8 bits
inline constexpr int64_t least_depth = 16;                     // whose multiples are packed in bf16

constexpr int64_t rows_in_groups(int64_t n) {
  return n / packed_rows * packed_rows;
}

// Decode streams `groups` groups side by side, and fetches each so many words ahead: into the L1
// cache 512 bytes, into the L2 before that 4 KiB. Where that is past the group, it goes on behind
// the others (docs/kernels.md). at: of the first group, `done` words of `words` into it.
template <int groups>
inline void prefetch_groups(const uint32_t* at, int64_t done, int64_t words) {
  constexpr int64_t to_l1 = 512 / 4, to_l2 = 4096 / 4;
  const int64_t others = (groups - 1) * words;
  const uint32_t* l1 = at + to_l1 + (done + to_l1 < words ? 0 : others);
  const uint32_t* l2 = at + to_l2 + (done + to_l2 < words ? 0 : others);
#pragma GCC unroll 8
  for (int s = 0; s < groups; ++s, l1 += words, l2 += words) {
    __builtin_prefetch(l1);
    __builtin_prefetch(l2, 0, 2);
  }
}

// Whether the weight of a Gemm is kept packed: where the machine has a unit for its products, k
// fills tiles (in bf16 at least half of the last), and every product that reads it takes all of it.
bool is_packed(const Gemm&, const CpuContext&);
// The same of every tensor of a plan, for CpuContext::packed.
std::vector<bool> packed_weights(const CpuContext&);

// Elements [first, first + count) of the rows of a weight [n, k] to where they lie packed, and
// back.
template <class T>
void pack(const T* from, int64_t first, int64_t count, int64_t n, int64_t k, T* weight);
template <class T>
void unpack(const T* weight, int64_t first, int64_t count, int64_t n, int64_t k, T* to);

}  // namespace tidemark::cpu
