#include "emulated_tiles.h"

#include <cmath>
#include <cstring>

#include "backend/cpu/bf16_product_tiles.h"

namespace tidemark::cpu {
namespace {

constexpr int tile_rows = 16, row_bytes = 64;
thread_local std::byte tiles[8][tile_rows][row_bytes];
thread_local bool configured = false;

template <class T>
T element(int tile, int row, int i) {
  T value;
  std::memcpy(&value, tiles[tile][row] + i * static_cast<int>(sizeof(T)), sizeof(T));
  return value;
}

// sum += left * right; words of the right tile hold values of T from as many rows.
template <class T, class Sum>
void multiply_tiles(int sum, int left, int right) {
  constexpr int values = 4 / static_cast<int>(sizeof(T));
  for (int r = 0; r < tile_rows; ++r)
    for (int c = 0; c < 16; ++c) {
      Sum total = element<Sum>(sum, r, c);
      for (int k = 0; k < 16; ++k)
        for (int i = 0; i < values; ++i)
          total += static_cast<Sum>(element<T>(left, r, values * k + i)) *
                   static_cast<Sum>(element<T>(right, k, values * c + i));
      std::memcpy(tiles[sum][r] + 4 * c, &total, sizeof(total));
    }
}

// Products of what no tile was configured for are not a number.
struct EmulatedTiles {
  template <int t>
  static void zero() {
    std::memset(tiles[t], configured ? 0 : 0xff, sizeof(tiles[t]));
  }
  template <int t>
  static void load(const void* from, int64_t step) {
    for (int r = 0; r < tile_rows; ++r)
      std::memcpy(tiles[t][r], static_cast<const std::byte*>(from) + r * step, row_bytes);
  }
  template <int t>
  static void pass(const void* from, int64_t step) {
    load<t>(from, step);
  }
  template <int t>
  static void store(void* to, int64_t step) {
    for (int r = 0; r < tile_rows; ++r)
      std::memcpy(static_cast<std::byte*>(to) + r * step, tiles[t][r], row_bytes);
  }
  template <int sum, int left, int right>
  static void multiply() {
    multiply_tiles<Bf16, float>(sum, left, right);
  }
};

struct EmulatedInt8Tiles : EmulatedTiles {
  template <int sum, int left, int right>
  static void multiply() {
    multiply_tiles<int8_t, int32_t>(sum, left, right);
  }
};

}  // namespace

const Bf16Unit emulated_tiles{.name = "emulated tiles",
                              .begin = [] { configured = true; },
                              .multiply = multiply_on_tiles<EmulatedTiles>,
                              .end = [] { configured = false; },
                              .multiply_int8 = multiply_on_tiles<EmulatedInt8Tiles>};

}  // namespace tidemark::cpu
