#include "backend/cpu/bf16_product.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "emulated_tiles.h"

namespace tidemark::cpu {
namespace {

int64_t padded(int64_t count) {
  return (count + product_rows - 1) / product_rows * product_rows;
}

// Against sums in double of the elements that the layout's definition names; what lies beside the
// result stays. packed: the right side and the result lie in groups, the left side in steps, or
// where it passes a tile unit in tiles. paired: beside each group of the right side is multiplied
// one of its second half.
using Stays = Bf16Product::Stays;
void check(const Bf16Unit& unit, int64_t rows, int64_t cols, int64_t depth, bool accumulate,
           bool packed, Stays stays, bool paired = false) {
  SCOPED_TRACE(testing::Message() << unit.name << ": " << rows << " x " << cols << " x " << depth
                                  << (accumulate ? ", accumulating" : "")
                                  << (packed ? ", packed" : "") << ", stays "
                                  << static_cast<int>(stays) << (paired ? ", paired" : ""));
  std::mt19937 random(static_cast<unsigned>(rows * 7919 + cols * 31 + depth));
  std::normal_distribution<float> normal(0, 1);
  const bool tiles = packed && stays == Stays::right && !unit.dots;
  const int64_t a_row = packed ? 32 : depth + 32;
  const int64_t a_step = tiles ? 512 : packed ? 32 * (padded(rows) + 1) : 32;
  const int64_t a_block = tiles ? 16 * (depth + 64) : 16 * a_row;
  const int64_t c_row = packed ? 16 : cols + 16;
  const int64_t c_group = packed ? 16 * (padded(rows) + 1) : 16;
  const int64_t b_row = packed ? 32 : 2 * (cols + 16), next = packed ? 16 * (depth + 64) : 32;
  const int64_t b_group = paired ? cols / 32 * next : next, b_pair = paired ? next : 2 * next;
  const auto a_at = [&](int64_t i, int64_t k) {
    return static_cast<size_t>(i / 16 * a_block + k / 32 * a_step + i % 16 * a_row + k % 32);
  };
  std::vector<Bf16> a(a_at(padded(rows), depth + 31) + 1),
      b(static_cast<size_t>((depth + 64) * (cols + 16)));
  const auto b_at = [&](int64_t k, int64_t j) {
    return static_cast<size_t>(j / 32 * b_pair + j / 16 % 2 * b_group + k / 2 * b_row +
                               2 * (j % 16) + k % 2);
  };
  const auto c_at = [&](int64_t i, int64_t j) {
    return static_cast<size_t>(j / 16 * c_group + i * c_row + j % 16);
  };
  std::vector<float> c(c_at(padded(rows), cols + 15) + 1);
  for (Bf16& value : a) value = Bf16(normal(random));
  for (Bf16& value : b) value = Bf16(normal(random));
  for (float& value : c) value = normal(random);
  const std::vector<float> before = c;
  unit.begin();
  unit.multiply({.a = a.data(),
                 .a_row = a_row,
                 .a_step = a_step,
                 .a_block = a_block,
                 .b = b.data(),
                 .b_row = b_row,
                 .b_group = b_group,
                 .b_pair = b_pair,
                 .c = c.data(),
                 .c_row = c_row,
                 .c_group = c_group,
                 .rows = rows,
                 .cols = cols,
                 .depth = depth,
                 .accumulate = accumulate,
                 .stays = stays});
  unit.end();
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols + 16; ++j) {
      const size_t at = c_at(i, j);
      if (j >= cols) {
        ASSERT_EQ(c[at], before[at]) << i << ", " << j;
        continue;
      }
      double sum = accumulate ? before[at] : 0, size = std::abs(sum);
      for (int64_t k = 0; k < depth; ++k) {
        const double term = static_cast<double>(static_cast<float>(a[a_at(i, k)])) *
                            static_cast<float>(b[b_at(k, j)]);
        sum += term, size += std::abs(term);
      }
      ASSERT_NEAR(c[at], sum, 2e-6 * size) << i << ", " << j;
    }
}

void check_shapes(const Bf16Unit& unit) {
  struct Layout {
    bool packed;
    Stays stays;
  };
  for (const auto& [packed, stays] :
       {Layout{false, Stays::all}, {true, Stays::all}, {true, Stays::left}, {true, Stays::right}})
    for (const bool accumulate : {false, true}) {
      check(unit, 1, 16, 32, accumulate, packed, stays);
      check(unit, 16, 16, 32, accumulate, packed, stays);
      check(unit, 17, 32, 64, accumulate, packed, stays);
      check(unit, 23, 48, 96, accumulate, packed, stays);
      check(unit, 48, 80, 32, accumulate, packed, stays);
      check(unit, 96, 128, 64, accumulate, packed, stays);
      check(unit, 61, 112, 160, accumulate, packed, stays);
      check(unit, 33, 64, 1056, accumulate, packed, stays);
      check(unit, 40, 96, 64, accumulate, packed, stays, true);
    }
}

// Integers, four rows of the right side interleaved: every sum is exact.
void check_int8(const Bf16Unit& unit, int64_t rows, int64_t cols, int64_t depth, bool accumulate) {
  SCOPED_TRACE(testing::Message() << unit.name << ": " << rows << " x " << cols << " x " << depth);
  std::mt19937 random(static_cast<unsigned>(rows * 7919 + cols * 31 + depth));
  std::uniform_int_distribution<int> integer(-127, 127);
  const int64_t a_row = depth + 64, b_group = 16 * (depth + 128), c_row = cols + 16;
  std::vector<int8_t> a(static_cast<size_t>(padded(rows) * a_row)),
      b(static_cast<size_t>(cols / 16 * b_group));
  for (int8_t& value : a) value = static_cast<int8_t>(integer(random));
  for (int8_t& value : b) value = static_cast<int8_t>(integer(random));
  std::vector<float> c(static_cast<size_t>(padded(rows) * c_row));  // int32_t as far as it goes
  const int32_t before = 1000;
  for (float& value : c) std::memcpy(&value, &before, sizeof(value));
  unit.begin();
  unit.multiply_int8({.a = reinterpret_cast<const Bf16*>(a.data()),
                      .a_row = a_row / 2,
                      .b = reinterpret_cast<const Bf16*>(b.data()),
                      .b_row = 32,
                      .b_group = b_group / 2,
                      .c = c.data(),
                      .c_row = c_row,
                      .rows = rows,
                      .cols = cols,
                      .depth = depth / 2,
                      .accumulate = accumulate,
                      .stays = accumulate ? Stays::right : Stays::left});
  unit.end();
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < c_row; ++j) {
      int32_t sum = accumulate || j >= cols ? before : 0, found = 0;
      for (int64_t k = 0; k < depth && j < cols; ++k)
        sum += a[static_cast<size_t>(i * a_row + k)] *
               b[static_cast<size_t>(j / 16 * b_group + k / 4 * 64 + j % 16 * 4 + k % 4)];
      std::memcpy(&found, &c[static_cast<size_t>(i * c_row + j)], sizeof(found));
      ASSERT_EQ(found, sum) << i << ", " << j;
    }
}

void check_int8_shapes(const Bf16Unit& unit) {
  for (const bool accumulate : {false, true}) {
    check_int8(unit, 1, 16, 64, accumulate);
    check_int8(unit, 17, 32, 128, accumulate);
    check_int8(unit, 61, 112, 320, accumulate);
  }
}

TEST(Bf16Product, EmulatedTiles) {
  check_shapes(emulated_tiles);
  check_int8_shapes(emulated_tiles);
}

TEST(Bf16Product, Dots) {
  if (!dot_unit()) GTEST_SKIP() << "no processor with fast vdpbf16ps";
  check_shapes(*dot_unit());
}

TEST(Bf16Product, Amx) {
  if (!amx_unit()) GTEST_SKIP() << "no AMX";
  check_shapes(*amx_unit());
  check_int8_shapes(*amx_unit());
}

}  // namespace
}  // namespace tidemark::cpu
