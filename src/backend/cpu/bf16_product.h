// Products of bf16 matrices summed in fp32, on the units that some x86 processors have for them:
// what projections, attention and SSD are made of where the dtype is bf16. Elsewhere they use
// oneDNN and product-inl.h.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "backend/cpu/max_isa.h"
#include "base/bf16.h"

namespace tidemark::cpu {

// c[rows, cols] (+)= a[rows, depth] * b[depth, cols]. The right side has groups of 16 columns, and
// rows 2k and 2k + 1 interleaved: element (2k + i, 16g + j) at b[offset_of_group(g) + k * b_row + 2
// * j + i]. `cols` is a multiple of 16 and `depth` of 32 (padding: zeros on both sides); up to the
// next multiple of 16, rows of a are readable and rows of c writable.
struct Bf16Product {
  const Bf16* a;  // element (16r + i, 32s + k) at a[r * a_block + s * a_step + i * a_row + k]
  int64_t a_row;
  int64_t a_step = 32;
  int64_t a_block = 16 * a_row;  // other ones: tile units only
  const Bf16* b;
  int64_t b_row;
  int64_t b_group = 2 * 16;      // by default groups lie side by side, rows in one piece
  int64_t b_pair = 2 * b_group;  // from a group to the second one behind it
  float* c;                      // element (i, 16g + j) at c[g * c_group + i * c_row + j]
  int64_t c_row;
  int64_t c_group = 16;
  int64_t rows, cols, depth;
  bool accumulate;
  // Of a large product, what should stay in the L1 cache while the other side passes: 32 rows of
  // the left, or 32 columns of the right.
  enum class Stays { all, left, right };
  Stays stays = Stays::all;
  // Or null: a right side laid out like this one that comes next, which a tile unit fetches into
  // the L2 cache meanwhile.
  const Bf16* ahead = nullptr;

  int64_t offset_of_group(int64_t group) const { return group / 2 * b_pair + group % 2 * b_group; }
};
inline constexpr int64_t product_rows = 16, product_cols = 16, product_depth = 32;

// A thread calls begin() before its products and end() when it has no more for now.
struct Bf16Unit {
  std::string_view name;
  void (*begin)();
  void (*multiply)(const Bf16Product&);
  void (*end)();
  // Or null: the same of integers of 8 bits, two in the place of each bf16, so that four rows of
  // the right side are interleaved. Sums in c are of 32 bits.
  void (*multiply_int8)(const Bf16Product&) = nullptr;
  // Whether attention of one position uses attention_dot.h instead: the processor has vdpbf16ps,
  // and is faster so than with operands laid out for multiply().
  bool dots = false;
};

// bf16_product_dot.cpp: AVX-512 vdpbf16ps, two multiply-adds a lane. Null where there is none, or
// where it is no faster than multiply-adds in fp32 (Intel's processors, measured by none here).
const Bf16Unit* dot_unit();
// bf16_product_amx.cpp: AMX tiles. Null where processor or system lack them.
const Bf16Unit* amx_unit();

// bf16_product.cpp: the fastest that this machine has and max_isa() allows, or null. Asked once,
// when a backend is made.
const Bf16Unit* bf16_unit();

}  // namespace tidemark::cpu
