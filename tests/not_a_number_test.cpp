// What is no number must stay visible: a broken model may neither crash nor look finite. In every
// level of `ctest -L isa`.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "backend/cpu/cpu_backend.h"

namespace tidemark {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinite = std::numeric_limits<float>::infinity();

template <class T>
std::vector<T> read(const Backend& backend, const Operand& operand, int64_t count) {
  std::vector<T> values(static_cast<size_t>(count));
  backend.download(operand.tensor, std::as_writable_bytes(std::span(values)), 0);
  return values;
}

TEST(CpuNotANumber, ActivationsPassIt) {
  constexpr int64_t width = 37;
  for (const Act act :
       {Act::silu, Act::gelu, Act::gelu_tanh, Act::relu2, Act::sigmoid, Act::identity})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      SCOPED_TRACE(testing::Message() << static_cast<int>(act) << ", " << name(dtype));
      Plan plan;
      plan.workload.dtype = dtype;
      const Operand x = add_tensor(plan, {"x", Tag::activation, dtype, 1, width});
      const Operand out = add_tensor(plan, {"out", Tag::activation, dtype, 1, width});
      plan.step(StepKind::tail).nodes = {{Activation{act, x, out, 1, width}, Role::mlp_act, 0}};
      CpuBackend backend(1, 0);
      backend.attach(plan, layout_on(backend, plan));
      std::vector<float> values(width, -1.5F);
      for (const size_t at : {2u, 20u, 36u}) values[at] = nan;
      std::vector<float> result;
      if (dtype == DType::f32) {
        backend.upload(x.tensor, std::as_bytes(std::span(values)), 0);
        backend.run_step(StepKind::tail, 0, nullptr);
        result = read<float>(backend, out, width);
      } else {
        const std::vector<Bf16> halves(values.begin(), values.end());
        backend.upload(x.tensor, std::as_bytes(std::span(halves)), 0);
        backend.run_step(StepKind::tail, 0, nullptr);
        for (const Bf16 value : read<Bf16>(backend, out, width))
          result.push_back(static_cast<float>(value));
      }
      for (size_t i = 0; i < values.size(); ++i)
        EXPECT_EQ(std::isnan(result[i]), std::isnan(values[i])) << i;
    }
}

// Scores that are no numbers choose some experts; which ones is nobody's business.
TEST(CpuNotANumber, RoutingStaysWithinTheExperts) {
  constexpr int64_t rows = 9, experts = 24, top_k = 4, groups = 4;
  for (const RouterScore score : {RouterScore::softmax, RouterScore::sigmoid})
    for (const float value : {nan, infinite, -infinite}) {
      SCOPED_TRACE(testing::Message() << static_cast<int>(score) << ", " << value);
      const bool grouped = score == RouterScore::sigmoid;
      Plan plan;
      const auto add = [&](DType dtype, int64_t r, int64_t c) {
        return add_tensor(plan, {"tensor", Tag::activation, dtype, r, c});
      };
      const Operand logits = add(DType::f32, rows, experts);
      const Operand weights = add(DType::f32, rows, top_k);
      const Operand token = add(DType::i32, rows * top_k, 1);
      const Operand position = add(DType::i32, rows, top_k);
      const Operand first = add(DType::i32, experts + 1, 1);
      plan.step(StepKind::tail).nodes = {{Route{score,
                                                logits,
                                                {},
                                                weights,
                                                token,
                                                position,
                                                first,
                                                rows,
                                                experts,
                                                top_k,
                                                grouped ? groups : 1,
                                                grouped ? 2 : 1,
                                                true,
                                                1},
                                          Role::router, 0}};
      CpuBackend backend(2, 0);
      backend.attach(plan, layout_on(backend, plan));
      std::vector<float> scores(rows * experts, 0.5F);
      for (int64_t i = 0; i < experts; ++i) scores[static_cast<size_t>(experts + i)] = value;
      for (int64_t i = 0; i < experts; i += 3) scores[static_cast<size_t>(4 * experts + i)] = value;
      backend.upload(logits.tensor, std::as_bytes(std::span(scores)), 0);
      backend.run_step(StepKind::tail, 0, nullptr);
      // Slots in the order of experts, each token in top_k of them.
      const std::vector<int32_t> begins = read<int32_t>(backend, first, experts + 1);
      EXPECT_EQ(begins.front(), 0);
      EXPECT_EQ(begins.back(), rows * top_k);
      EXPECT_TRUE(std::is_sorted(begins.begin(), begins.end()));
      const std::vector<int32_t> tokens = read<int32_t>(backend, token, rows * top_k);
      std::vector<int32_t> slots = read<int32_t>(backend, position, rows * top_k);
      for (size_t i = 0; i < slots.size(); ++i) {
        ASSERT_TRUE(slots[i] >= 0 && slots[i] < rows * top_k) << slots[i];
        EXPECT_EQ(tokens[static_cast<size_t>(slots[i])], static_cast<int32_t>(i) / top_k);
      }
      std::sort(slots.begin(), slots.end());
      for (size_t i = 0; i < slots.size(); ++i) EXPECT_EQ(slots[i], static_cast<int32_t>(i));
    }
}

}  // namespace
}  // namespace tidemark
