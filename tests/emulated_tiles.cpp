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
    for (int r = 0; r < tile_rows; ++r)
      for (int c = 0; c < 16; ++c) {
        auto total = element<float>(sum, r, c);
        for (int k = 0; k < 16; ++k)
          for (int i = 0; i < 2; ++i)
            total += static_cast<float>(element<Bf16>(left, r, 2 * k + i)) *
                     static_cast<float>(element<Bf16>(right, k, 2 * c + i));
        std::memcpy(tiles[sum][r] + 4 * c, &total, sizeof(total));
      }
  }
};

struct EmulatedInt8Tiles : EmulatedTiles {
  template <int sum, int left, int right>
  static void multiply() {
    for (int r = 0; r < tile_rows; ++r)
      for (int c = 0; c < 16; ++c) {
        auto total = element<int32_t>(sum, r, c);
        for (int k = 0; k < 16; ++k)
          for (int i = 0; i < 4; ++i)
            total += element<int8_t>(left, r, 4 * k + i) * element<int8_t>(right, k, 4 * c + i);
        std::memcpy(tiles[sum][r] + 4 * c, &total, sizeof(total));
      }
  }
};

}  // namespace

const Bf16Unit emulated_tiles{.name = "emulated tiles",
                              .begin = [] { configured = true; },
                              .multiply = multiply_on_tiles<EmulatedTiles>,
                              .end = [] { configured = false; },
                              .multiply_int8 = multiply_on_tiles<EmulatedInt8Tiles>};

}  // namespace tidemark::cpu
