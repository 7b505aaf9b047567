// Which tensors of a plan have 8 bits, and what that comes to, against sizes worked out by hand.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "model/load.h"
#include "plan/footprint.h"
#include "plan/plan.h"

namespace tidemark {
namespace {

// Qwen2.5-0.5B: 24 layers of width 896, 14 heads and 2 KV heads of 64, MLP 4864, vocabulary 151936.
constexpr int64_t width = 896, qkv = 896 + 2 * 128, mlp = 4864, layers = 24, vocab = 151936;

TEST(Int8Plan, ProjectionsAndTheTiedTableTakeAByteAWeightAndTwoAScale) {
  const int64_t in_bf16 = layers * (qkv + 2 * width) + width;  // qkv's bias, norms
  // Rows of 896, and of 4864, in groups of 32 or whole.
  const auto bytes = [&](int64_t of_width, int64_t of_mlp) {
    const int64_t layer =
        (qkv + width + 2 * mlp) * (width + 2 * of_width) + width * (mlp + 2 * of_mlp);
    return layers * layer + vocab * (width + 2 * of_width) + 2 * in_bf16;
  };
  const Footprint a16 = footprint(load_spec("qwen2.5-0.5b"), DType::w8a16);
  EXPECT_EQ(a16.weight_bytes, bytes(28, 152));
  EXPECT_EQ(a16.kv_bytes_per_token, 12 * 1024) << "the cache stays in bf16";
  EXPECT_EQ(footprint(load_spec("qwen2.5-0.5b"), DType::w8a8).weight_bytes, bytes(1, 1));
}

template <class Op>
const Operand& weight_of(const Op& op) {
  if constexpr (requires { op.table; })
    return op.table;
  else
    return op.weight;
}

// The operators that may have 8-bit weights have them, or are named here; returns those tensors.
std::set<TensorId> int8_tensors(const ModelSpec& spec, const Plan& plan) {
  std::set<TensorId> found;
  const auto tensor = [&](const Operand& o) { return plan.tensors[static_cast<size_t>(o.tensor)]; };
  const auto check = [&](const auto& op, Role role) {
    if constexpr (requires { op.scales; }) {
      const bool keeps = role == Role::router || role == Role::x_proj || role == Role::dt_proj ||
                         (role == Role::embed && spec.embedding != spec.lm_head);
      EXPECT_EQ(static_cast<bool>(op.scales), !keeps) << name(role);
      if (!op.scales) return;
      const Tensor weight = tensor(weight_of(op)), scales = tensor(op.scales);
      const bool whole_rows = plan.workload.dtype == DType::w8a8;
      const int64_t group = whole_rows ? weight.cols : std::min<int64_t>(32, weight.cols);
      EXPECT_EQ(weight.dtype, DType::i8);
      EXPECT_EQ(weight.group, group);
      EXPECT_EQ(op.group, group);
      EXPECT_TRUE(scales.is_scales);
      EXPECT_EQ(scales.weight, weight.weight);
      EXPECT_EQ(scales.rows, weight.rows);
      EXPECT_EQ(scales.cols, (weight.cols + group - 1) / group);
      EXPECT_EQ(op.scales.tensor, weight_of(op).tensor + 1) << "filled one after the other";
      if constexpr (requires { op.int8_x; }) {
        EXPECT_EQ(op.int8_x, whole_rows);
      }
      found.insert({weight_of(op).tensor});
    }
  };
  for (const Step& step : plan.steps)
    for (const Node& node : step.nodes)
      std::visit([&](const auto& op) { check(op, node.role); }, node.op);
  return found;
}

TEST(Int8Plan, OnlyWhatMultipliesManyWeightsHasEightBits) {
  // Attention, Mamba-1 and experts in one; learned positions, meta tokens, adapters, block gates.
  const std::string golden = TIDEMARK_TEST_DATA "/golden/";
  for (const DType dtype : {DType::w8a16, DType::w8a8})
    for (const char* folder : {"jamba", "hymba", "gpt-neo", "zamba2-2.7b", "recurrent-gemma"}) {
      SCOPED_TRACE(std::string(folder) + " " + std::string(name(dtype)));
      const ModelSpec spec = load_spec(golden + folder + "-tiny");
      const Plan plan =
          build_plan(spec, {.context = 20, .new_tokens = 2, .chunk = 8, .dtype = dtype});
      const std::set<TensorId> int8 = int8_tensors(spec, plan);
      EXPECT_FALSE(int8.empty());
      for (size_t i = 0; i < plan.tensors.size(); ++i) {
        const Tensor& t = plan.tensors[i];
        if (int8.contains(static_cast<TensorId>(i)) || t.dtype == DType::i32) continue;
        const bool fp32 = t.tag == Tag::ssm_state || t.tag == Tag::logits ||
                          t.name == "router_logits" || t.name == "expert_weights";
        EXPECT_EQ(t.dtype, fp32 ? DType::f32 : DType::bf16) << t.name;
      }
    }
}

TEST(Int8Plan, RoundingActivationsCostsOperationsAndNoBytesOfThePlan) {
  const ModelSpec spec = load_spec("qwen2.5-0.5b");
  const auto qkv_cost = [&](DType dtype) {
    const Plan plan = build_plan(spec, {.context = 64, .chunk = 64, .dtype = dtype});
    for (const Node& node : plan.step(StepKind::tail).nodes)
      if (node.role == Role::qkv_proj) return cost(node.op, plan);
    return Cost{};
  };
  const Cost bf16 = qkv_cost(DType::bf16), a8 = qkv_cost(DType::w8a8);
  EXPECT_EQ(bf16.bytes() - a8.bytes(), qkv * width - qkv * 2);
  EXPECT_EQ(a8.ops - bf16.ops, 64 * (3 * qkv + 2 * width + 3));
}

}  // namespace
}  // namespace tidemark
