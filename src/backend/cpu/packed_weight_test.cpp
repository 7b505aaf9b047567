#include "backend/cpu/packed_weight.h"

#include <gtest/gtest.h>

#include <vector>

#include "emulated_tiles.h"

namespace tidemark::cpu {
namespace {

// Seven groups of 16 rows, five rows as they are.
constexpr int64_t n = 117, k = 64;

struct Products {
  Plan plan;

  Operand add(Tag tag, int64_t rows, int64_t cols, DType dtype = DType::bf16) {
    return add_tensor(plan, {"tensor", tag, dtype, rows, cols});
  }
  Gemm& product(StepKind step, int64_t m, const Operand& weight) {
    plan.step(step).nodes.push_back(
        {Gemm{add(Tag::activation, m, k), weight, {}, add(Tag::activation, m, n), m, n, k},
         Role::embed, 0});
    return std::get<Gemm>(plan.step(step).nodes.back().op);
  }
  bool packs(const Operand& weight, const Bf16Unit* unit = &emulated_tiles) {
    const CpuContext context = {.plan = &plan, .bf16 = unit, .threads = 2};
    return packed_weights(context)[static_cast<size_t>(weight.tensor)];
  }
};

TEST(PackedWeight, HasPairsOfColumnsOfGroups) {
  std::vector<Bf16> rows(n * k), packed(n * k), back(n * k);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = Bf16(static_cast<float>(i % 251));
  const int64_t some = 3 * k + 7;  // pieces need not end with a row
  pack(rows.data(), 0, some, n, k, packed.data());
  pack(rows.data() + some, some, n * k - some, n, k, packed.data());
  const auto expect = [&](const Bf16* at, int64_t row, int64_t col) {
    EXPECT_EQ(static_cast<float>(*at), static_cast<float>(rows[static_cast<size_t>(row * k + col)]))
        << row << ", " << col;
  };
  // Columns 10 and 11 of row 3: in the first group the sixth pair of the rows there.
  expect(packed.data() + (5 * 16 + 3) * 2, 3, 10);
  expect(packed.data() + (5 * 16 + 3) * 2 + 1, 3, 11);
  expect(packed.data() + 64 * k + (5 * 16 + 6) * 2, 70, 10);
  expect(packed.data() + 64 * k + (5 * 16 + 6) * 2 + 1, 70, 11);
  expect(packed.data() + 113 * k + 10, 113, 10);
  unpack(packed.data(), 0, some, n, k, back.data());
  unpack(packed.data(), some, n * k - some, n, k, back.data() + some);
  for (size_t i = 0; i < rows.size(); ++i)
    ASSERT_EQ(static_cast<float>(back[i]), static_cast<float>(rows[i])) << i;
}

TEST(PackedWeight, HasFoursOfColumnsOf8Bits) {
  std::vector<int8_t> rows(n * k), packed(n * k), back(n * k);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int8_t>(i % 251 - 125);
  const int64_t some = 20 * k + 7;
  pack(rows.data(), 0, some, n, k, packed.data());
  pack(rows.data() + some, some, n * k - some, n, k, packed.data());
  // Column 10 of row 3: in the first group the third four of that row.
  EXPECT_EQ(packed[(2 * 16 + 3) * 4 + 2], rows[3 * k + 10]);
  EXPECT_EQ(packed[64 * k + (2 * 16 + 6) * 4 + 2], rows[70 * k + 10]);
  EXPECT_EQ(packed[113 * k + 10], rows[113 * k + 10]);
  unpack(packed.data(), 0, some, n, k, back.data());
  unpack(packed.data(), some, n * k - some, n, k, back.data() + some);
  EXPECT_EQ(back, rows);
}

TEST(PackedWeight, OnlyWhereEveryReaderTakesIt) {
  Products alone;
  const Operand weight = alone.add(Tag::weights, n, k);
  alone.product(StepKind::tail, 96, weight);
  alone.product(StepKind::decode, 1, weight);
  EXPECT_TRUE(alone.packs(weight));
  EXPECT_FALSE(alone.packs(weight, nullptr));

  // Two halves of one weight are two products that each read a part of it.
  alone.product(StepKind::tail, 96, weight).n = n / 2;
  EXPECT_FALSE(alone.packs(weight));

  Products tied;
  const Operand table = tied.add(Tag::weights, n, k);
  tied.product(StepKind::tail, 96, table);
  const auto look_up = [&](int64_t vocab) {
    tied.plan.step(StepKind::tail)
        .nodes.push_back({Embedding{tied.add(Tag::activation, 1, 96, DType::i32), table,
                                    tied.add(Tag::activation, 96, k), 1, 96, 0, k, vocab, 1},
                          Role::embed, 0});
  };
  look_up(n);
  EXPECT_TRUE(tied.packs(table));
  look_up(n - 1);
  EXPECT_FALSE(tied.packs(table));

  Products int8;
  const Operand bytes = int8.add(Tag::weights, n, k, DType::i8);
  Gemm& product = int8.product(StepKind::tail, 96, bytes);
  EXPECT_FALSE(int8.packs(bytes));  // scaled to bf16 a panel at a time
  product.int8_x = true;
  EXPECT_TRUE(int8.packs(bytes));
  Bf16Unit without = emulated_tiles;
  without.multiply_int8 = nullptr;
  EXPECT_FALSE(int8.packs(bytes, &without));

  Products fp32;
  const Operand full = fp32.add(Tag::weights, n, k, DType::f32);
  fp32.product(StepKind::tail, 96, full);
  EXPECT_FALSE(fp32.packs(full));
}

}  // namespace
}  // namespace tidemark::cpu
