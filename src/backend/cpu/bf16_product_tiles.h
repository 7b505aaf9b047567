// The product of bf16_product.h on tiles: registers of 16 rows of 64 bytes. Two tiles of the left
// side meet two of the right, so that each is used twice per load and four sums stay in registers.
// Intel 64 and IA-32 Architectures Optimization Reference Manual, section 20.5 (AMX).
// Tiles is what does it: AMX itself (bf16_product_amx.cpp), or for the test its definition in C++.
#pragma once

#include "backend/cpu/bf16_product.h"

namespace tidemark::cpu {

// Tiles: zero<t>(), load<t>(from, row_bytes), pass<t>(the same, of what need not stay in the L1
// cache), store<t>(to, row_bytes), multiply<sum, left, right>() for t in 0..7.
template <class Tiles, int t, bool passes>
void load_tile(const Bf16* from, int64_t row_bytes) {
  passes ? Tiles::template pass<t>(from, row_bytes) : Tiles::template load<t>(from, row_bytes);
}

// What is multiplied at a time: tiles from row and col on, over depths [begin, end).
struct TileRange {
  int64_t row, col, begin, end;
};

using Stays = Bf16Product::Stays;

template <class Tiles, int across, int down, Stays stays>
void tile_block(const Bf16Product& p, const TileRange& at) {
  constexpr bool a_passes = stays == Stays::right, b_passes = stays == Stays::left;
  const int64_t row = at.row, col = at.col;
  float* c = p.c + col / product_cols * p.c_group + row * p.c_row;
  float* below = c + product_rows * p.c_row;
  const int64_t c_bytes = p.c_row * 4;
  if (p.accumulate || at.begin > 0) {
    Tiles::template load<0>(c, c_bytes);
    if constexpr (across > 1) Tiles::template load<1>(c + p.c_group, c_bytes);
    if constexpr (down > 1) Tiles::template load<2>(below, c_bytes);
    if constexpr (across > 1 && down > 1) Tiles::template load<3>(below + p.c_group, c_bytes);
  } else {
    Tiles::template zero<0>();
    if constexpr (across > 1) Tiles::template zero<1>();
    if constexpr (down > 1) Tiles::template zero<2>();
    if constexpr (across > 1 && down > 1) Tiles::template zero<3>();
  }
  const int64_t a_bytes = p.a_row * 2, b_bytes = p.b_row * 2;
  const Bf16* a = p.a + row / product_rows * p.a_block + at.begin / product_depth * p.a_step;
  const Bf16* b = p.b + p.offset_of_group(col / product_cols) + at.begin / 2 * p.b_row;
  // Of what comes next, this block's share, so many lines at each step of the depth.
  constexpr int64_t line = 2 * product_cols;
  const int64_t row_blocks = (p.rows + 31) / 32, steps = p.depth / product_depth;
  const int64_t lines = (across * product_depth / 2 + row_blocks - 1) / row_blocks;
  const Bf16* ahead = p.ahead;
  if (ahead) {
    const int64_t first = (row / 32 * steps + at.begin / product_depth) * lines;
    const int64_t group = p.depth / 2;
    ahead += p.offset_of_group(col / product_cols + first / group) + first % group * line;
  }
  for (int64_t k = at.begin; k < at.end; k += product_depth) {
    if (ahead)
      for (int64_t i = 0; i < lines; ++i, ahead += line) __builtin_prefetch(ahead, 0, 2);
    load_tile<Tiles, 4, a_passes>(a, a_bytes);
    load_tile<Tiles, 6, b_passes>(b, b_bytes);
    Tiles::template multiply<0, 4, 6>();
    if constexpr (across > 1) {
      load_tile<Tiles, 7, b_passes>(b + p.b_group, b_bytes);
      Tiles::template multiply<1, 4, 7>();
    }
    if constexpr (down > 1) {
      load_tile<Tiles, 5, a_passes>(a + p.a_block, a_bytes);
      Tiles::template multiply<2, 5, 6>();
      if constexpr (across > 1) Tiles::template multiply<3, 5, 7>();
    }
    a += p.a_step, b += product_depth / 2 * p.b_row;
  }
  Tiles::template store<0>(c, c_bytes);
  if constexpr (across > 1) Tiles::template store<1>(c + p.c_group, c_bytes);
  if constexpr (down > 1) Tiles::template store<2>(below, c_bytes);
  if constexpr (across > 1 && down > 1) Tiles::template store<3>(below + p.c_group, c_bytes);
}

template <class Tiles, Stays stays>
void multiply_block(const Bf16Product& p, const TileRange& at) {
  const bool wide = at.col + 16 < p.cols, tall = at.row + 16 < p.rows;
  if (wide && tall) tile_block<Tiles, 2, 2, stays>(p, at);
  if (wide && !tall) tile_block<Tiles, 2, 1, stays>(p, at);
  if (!wide && tall) tile_block<Tiles, 1, 2, stays>(p, at);
  if (!wide && !tall) tile_block<Tiles, 1, 1, stays>(p, at);
}

// What stays has 32 rows or columns, and as much of the depth at a time as the L1 cache keeps.
template <class Tiles, Stays stays>
void multiply_passing(const Bf16Product& p) {
  constexpr int64_t most_depth = 512;
  const int64_t parts = (p.depth + most_depth - 1) / most_depth;
  const int64_t part = (p.depth / product_depth + parts - 1) / parts * product_depth;
  const int64_t kept = stays == Stays::left ? p.rows : p.cols;
  const int64_t passing = stays == Stays::left ? p.cols : p.rows;
  for (int64_t i = 0; i < kept; i += 32)
    for (int64_t k = 0; k < p.depth; k += part)
      for (int64_t j = 0; j < passing; j += 32) {
        const int64_t end = k + part < p.depth ? k + part : p.depth;
        multiply_block<Tiles, stays>(
            p, stays == Stays::left ? TileRange{i, j, k, end} : TileRange{j, i, k, end});
      }
}

// Two columns of tiles of a right side of up to two steps of depth, which stays in registers: half
// the loads of tile_block. Attention's two products, at a head of 64 and 64 keys, are such.
template <class Tiles, int steps>
void short_columns(const Bf16Product& p, int64_t col) {
  const Bf16* b = p.b + p.offset_of_group(col / product_cols);
  const int64_t a_bytes = p.a_row * 2, b_bytes = p.b_row * 2, c_bytes = p.c_row * 4;
  const int64_t b_step = product_depth / 2 * p.b_row;
  Tiles::template load<4>(b, b_bytes);
  Tiles::template load<5>(b + p.b_group, b_bytes);
  if constexpr (steps > 1) {
    Tiles::template load<6>(b + b_step, b_bytes);
    Tiles::template load<7>(b + b_step + p.b_group, b_bytes);
  }
  for (int64_t row = 0; row < p.rows; row += product_rows) {
    const Bf16* a = p.a + row / product_rows * p.a_block;
    float* c = p.c + col / product_cols * p.c_group + row * p.c_row;
    if (p.accumulate) {
      Tiles::template load<0>(c, c_bytes);
      Tiles::template load<1>(c + p.c_group, c_bytes);
    } else {
      Tiles::template zero<0>();
      Tiles::template zero<1>();
    }
    Tiles::template load<2>(a, a_bytes);
    Tiles::template multiply<0, 2, 4>();
    Tiles::template multiply<1, 2, 5>();
    if constexpr (steps > 1) {
      Tiles::template load<3>(a + p.a_step, a_bytes);
      Tiles::template multiply<0, 3, 6>();
      Tiles::template multiply<1, 3, 7>();
    }
    Tiles::template store<0>(c, c_bytes);
    Tiles::template store<1>(c + p.c_group, c_bytes);
  }
}

template <class Tiles>
void multiply_columns(const Bf16Product& p, int64_t col) {
  const bool wide = col + product_cols < p.cols;
  if (wide && p.depth == product_depth) return short_columns<Tiles, 1>(p, col);
  if (wide && p.depth == 2 * product_depth) return short_columns<Tiles, 2>(p, col);
  for (int64_t row = 0; row < p.rows; row += 32)
    multiply_block<Tiles, Stays::all>(p, {row, col, 0, p.depth});
}

template <class Tiles>
void multiply_on_tiles(const Bf16Product& p) {
  if (p.stays == Stays::left) return multiply_passing<Tiles, Stays::left>(p);
  if (p.stays == Stays::right) return multiply_passing<Tiles, Stays::right>(p);
  for (int64_t col = 0; col < p.cols; col += 32) multiply_columns<Tiles>(p, col);
}

}  // namespace tidemark::cpu
