// The product of bf16_product.h on tiles: registers of 16 rows of 64 bytes. Two tiles of the left
// side meet two of the right, so that each is used twice per load and four sums stay in registers.
// Intel 64 and IA-32 Architectures Optimization Reference Manual, section 20.5 (AMX).
// Tiles is what does it: AMX itself (bf16_product_amx.cpp), or for the test its definition in C++.
#pragma once

#include "backend/cpu/bf16_product.h"

namespace tidemark::cpu {

// Tiles: zero<t>(), load<t>(from, row_bytes), store<t>(to, row_bytes), multiply<sum, left, right>()
// for t in 0..7.
template <class Tiles, int across, int down>
void tile_block(const Bf16Product& p, int64_t row, int64_t col) {
  float* c = p.c + row * p.c_row + col;
  const int64_t c_bytes = p.c_row * 4, a_bytes = p.a_row * 2, b_bytes = p.b_row * 2;
  if (p.accumulate) {
    Tiles::template load<0>(c, c_bytes);
    if constexpr (across > 1) Tiles::template load<1>(c + 16, c_bytes);
    if constexpr (down > 1) Tiles::template load<2>(c + 16 * p.c_row, c_bytes);
    if constexpr (across > 1 && down > 1) Tiles::template load<3>(c + 16 * p.c_row + 16, c_bytes);
  } else {
    Tiles::template zero<0>();
    if constexpr (across > 1) Tiles::template zero<1>();
    if constexpr (down > 1) Tiles::template zero<2>();
    if constexpr (across > 1 && down > 1) Tiles::template zero<3>();
  }
  const Bf16* a = p.a + row * p.a_row;
  const Bf16* b = p.b + 2 * col;
  // Of what comes next, this block's share at this step of the depth.
  constexpr int64_t line = 64 / sizeof(Bf16);
  const int64_t steps = (p.cols + 31) / 32 * ((p.rows + 31) / 32) * (p.depth / product_depth);
  const int64_t lines = (p.cols * p.depth / line + steps - 1) / steps;
  const Bf16* ahead = p.ahead;
  if (ahead)
    ahead +=
        (col / 32 * ((p.rows + 31) / 32) + row / 32) * (p.depth / product_depth) * lines * line;
  for (int64_t k = 0; k < p.depth; k += product_depth) {
    if (ahead)
      for (int64_t i = 0; i < lines; ++i, ahead += line) __builtin_prefetch(ahead, 0, 2);
    Tiles::template load<4>(a + k, a_bytes);
    Tiles::template load<6>(b + k / 2 * p.b_row, b_bytes);
    Tiles::template multiply<0, 4, 6>();
    if constexpr (across > 1) {
      Tiles::template load<7>(b + k / 2 * p.b_row + 32, b_bytes);
      Tiles::template multiply<1, 4, 7>();
    }
    if constexpr (down > 1) {
      Tiles::template load<5>(a + 16 * p.a_row + k, a_bytes);
      Tiles::template multiply<2, 5, 6>();
      if constexpr (across > 1) Tiles::template multiply<3, 5, 7>();
    }
  }
  Tiles::template store<0>(c, c_bytes);
  if constexpr (across > 1) Tiles::template store<1>(c + 16, c_bytes);
  if constexpr (down > 1) Tiles::template store<2>(c + 16 * p.c_row, c_bytes);
  if constexpr (across > 1 && down > 1) Tiles::template store<3>(c + 16 * p.c_row + 16, c_bytes);
}

template <class Tiles>
void multiply_on_tiles(const Bf16Product& p) {
  for (int64_t col = 0; col < p.cols; col += 32) {
    const bool wide = col + 16 < p.cols;
    for (int64_t row = 0; row < p.rows; row += 32) {
      const bool tall = row + 16 < p.rows;
      if (wide && tall) tile_block<Tiles, 2, 2>(p, row, col);
      if (wide && !tall) tile_block<Tiles, 2, 1>(p, row, col);
      if (!wide && tall) tile_block<Tiles, 1, 2>(p, row, col);
      if (!wide && !tall) tile_block<Tiles, 1, 1>(p, row, col);
    }
  }
}

}  // namespace tidemark::cpu
