#include "backend/cpu/packed_weight.h"

#include <gtest/gtest.h>

#include <vector>

#include "backend/cpu/onednn.h"

namespace tidemark::cpu {
namespace {

constexpr int64_t n = 128, k = 64;

struct Products {
  Plan plan;
  OneDnnGemms gemms;

  Operand add(Tag tag, int64_t rows, int64_t cols, DType dtype = DType::bf16) {
    plan.tensors.push_back({"tensor", tag, dtype, rows, cols});
    return {static_cast<TensorId>(plan.tensors.size() - 1), 0, cols};
  }
  Gemm& product(StepKind step, int64_t m, const Operand& weight) {
    plan.step(step).nodes.push_back(
        {Gemm{add(Tag::activation, m, k), weight, {}, add(Tag::activation, m, n), m, n, k},
         Role::embed, 0});
    return std::get<Gemm>(plan.step(step).nodes.back().op);
  }
  CpuContext context() { return {.plan = &plan, .gemms = &gemms, .threads = 2}; }
  bool packs(const Operand& weight) {
    return packed_weights(context())[static_cast<size_t>(weight.tensor)];
  }
};

TEST(PackedWeight, HasPairsOfColumnsOfBlocksOf64Rows) {
  std::vector<Bf16> rows(n * k), packed(n * k), back(n * k);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = Bf16(static_cast<float>(i % 251));
  const int64_t some = 3 * k + 7;  // pieces need not end with a row
  pack(rows.data(), 0, some, k, packed.data());
  pack(rows.data() + some, some, n * k - some, k, packed.data());
  // Row 70, columns 10 and 11: in the second block the sixth pair of the rows there.
  const Bf16* pair = packed.data() + 64 * k + (5 * 64 + 6) * 2;
  EXPECT_EQ(static_cast<float>(pair[0]), static_cast<float>(rows[70 * k + 10]));
  EXPECT_EQ(static_cast<float>(pair[1]), static_cast<float>(rows[70 * k + 11]));
  unpack(packed.data(), 0, some, k, back.data());
  unpack(packed.data(), some, n * k - some, k, back.data() + some);
  for (size_t i = 0; i < rows.size(); ++i)
    ASSERT_EQ(static_cast<float>(back[i]), static_cast<float>(rows[i])) << i;
}

TEST(PackedWeight, OnlyWhereEveryReaderTakesIt) {
  Products alone;
  const Operand weight = alone.add(Tag::weights, n, k);
  alone.product(StepKind::tail, 96, weight);
  alone.product(StepKind::decode, 1, weight);
  if (!alone.packs(weight)) GTEST_SKIP() << "oneDNN has no kernel for packed bf16 weights here";

  // Two halves of one weight are two products that each read a part of it.
  alone.product(StepKind::tail, 96, weight).n = n / 2;
  EXPECT_FALSE(alone.packs(weight));

  Products tied;
  const Operand table = tied.add(Tag::weights, n, k);
  tied.product(StepKind::tail, 96, table);
  EXPECT_TRUE(tied.packs(table));
  tied.plan.step(StepKind::tail)
      .nodes.push_back({Embedding{tied.add(Tag::activation, 1, 96, DType::i32), table,
                                  tied.add(Tag::activation, 96, k), 1, 96, 0, k, n, 1},
                        Role::embed, 0});
  EXPECT_FALSE(tied.packs(table));

  Products fp32;
  const Operand full = fp32.add(Tag::weights, n, k, DType::f32);
  fp32.product(StepKind::tail, 96, full);
  EXPECT_FALSE(fp32.packs(full));
}

}  // namespace
}  // namespace tidemark::cpu
