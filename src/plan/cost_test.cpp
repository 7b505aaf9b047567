// cost() must equal what the scalar references execute, operation by operation.
#include <gtest/gtest.h>

#include <set>

#include "op_cases.h"
#include "plan/reference/reference.h"

namespace tidemark {
namespace {

TEST(Cost, OperationsEqualWhatTheReferenceExecutes) {
  std::set<size_t> seen;
  for (const DType dtype : {DType::f32, DType::w8a16, DType::w8a8})
    for (const OpCase& c : op_cases(dtype)) {
      SCOPED_TRACE(c.name + " in " + std::string(name(dtype)));
      reference::Memory<reference::Counted> memory(c.plan);
      for (const auto& [tensor, values] : c.integers)
        memory.integers[static_cast<size_t>(tensor)] = values;
      reference::Counted::ops = 0;
      reference::run_op(c.node().op, memory);
      EXPECT_EQ(cost(c.node().op, c.plan).ops, reference::Counted::ops);
      seen.insert(c.node().op.index());
    }
  EXPECT_EQ(seen.size(), std::variant_size_v<Op>) << "an operator has no case";
}

// Bytes, against sizes worked out by hand.
TEST(Cost, BytesCountEachOperandOnce) {
  Plan plan;
  auto add = [&](DType dtype, int64_t rows, int64_t cols) {
    return add_tensor(plan, {"t", Tag::activation, dtype, rows, cols});
  };
  const Operand x = add(DType::bf16, 4, 8), w = add(DType::bf16, 3, 8), b = add(DType::bf16, 3, 1);
  const Operand out = add(DType::f32, 4, 3);
  const Cost gemm = cost(Gemm{x, w, b, out, 4, 3, 8, 1.0F, true}, plan);
  EXPECT_EQ(gemm.bytes_read, 2 * (4 * 8 + 3 * 8 + 3) + 4 * 4 * 3);
  EXPECT_EQ(gemm.bytes_written, 4 * 4 * 3);

  // 8-bit weights count one byte each and two per scale; activations rounded on the way nothing
  // more.
  const Operand q = add(DType::i8, 3, 8), scales = add(DType::bf16, 3, 1);
  Gemm int8{x, q, b, out, 4, 3, 8};
  int8.scales = scales, int8.group = 8, int8.int8_x = true;
  EXPECT_EQ(cost(int8, plan).bytes_read, 2 * (4 * 8 + 3) + 3 * (8 + 2));
  int8.group = 5, int8.int8_x = false;
  EXPECT_EQ(cost(int8, plan).bytes_read, 2 * (4 * 8 + 3) + 3 * (8 + 2 * 2));
  const Operand first = add(DType::i32, 8, 1);
  ExpertGemm experts{x, q, {}, first, out, 2, 7, 3, 8};  // of 7 experts 2 slots reach 2
  experts.scales = scales, experts.group = 4;
  EXPECT_EQ(cost(experts, plan).bytes_read, 2 * 8 * 2 + 8 * 4 + 2 * 3 * (8 + 2 * 2));
  Embedding table{first, q, x, 4, 1, 0, 8, 3, 1.0F};
  table.scales = scales, table.group = 4;
  EXPECT_EQ(cost(table, plan).bytes_read, 4 * (4 + 2 * 2 + 8));

  // A 2-token step at past 10 with a window of 6: 5 cached keys are in reach, and the step's own 2.
  Attention a{};
  a.q = a.k = a.v = a.k_cache = a.v_cache = a.out = x;
  a.batch = 3, a.length = 2, a.past = 10, a.heads = 4, a.kv_heads = 2, a.head_dim = 16;
  a.value_dim = 32, a.capacity = 6, a.window = 6;
  const Cost windowed = cost(a, plan);
  EXPECT_EQ(windowed.bytes_read, 2 * 3 * (2 * 4 * 16 + (5 + 2) * 2 * (16 + 32)));
  a.window = 0, a.capacity = 12;
  EXPECT_EQ(cost(a, plan).bytes_read, 2 * 3 * (2 * 4 * 16 + 12 * 2 * (16 + 32)));
  EXPECT_EQ(cost(a, plan).bytes_written, 2 * 3 * 2 * 4 * 32);
}

}  // namespace
}  // namespace tidemark
