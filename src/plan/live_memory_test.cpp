#include "plan/live_memory.h"

#include <gtest/gtest.h>

namespace tidemark {
namespace {

// Three tensors of 64 B in a chain a -> b -> c, a weight, and logits written by the last node.
struct Chain {
  Plan plan;
  TensorId add(Tag tag, int64_t bytes) {
    plan.tensors.push_back({"t", tag, DType::f32, 1, bytes / 4});
    return static_cast<TensorId>(plan.tensors.size() - 1);
  }
  void apply(StepKind kind, TensorId x, TensorId out) {
    plan.step(kind).nodes.push_back({Activation{Act::silu, {x, 0, 16}, {out, 0, 16}, 1, 16}});
  }
};

int64_t workspace(const Node& node) {
  return std::get<Activation>(node.op).x.tensor == 2 ? 640 : 0;
}

TEST(LiveMemory, TensorsLiveFromTheirFirstUseToTheirLast) {
  Chain c;
  c.plan.ids = c.add(Tag::activation, 128);
  c.add(Tag::weights, 256);
  const TensorId a = c.add(Tag::activation, 1024), b = c.add(Tag::activation, 2048),
                 last = c.add(Tag::activation, 60), logits = c.add(Tag::logits, 4096);
  c.apply(StepKind::tail, a, b);
  c.apply(StepKind::tail, b, last);
  c.apply(StepKind::tail, last, logits);

  const auto live = live_memory(c.plan, StepKind::tail, workspace);
  ASSERT_EQ(live.size(), 3U);
  EXPECT_EQ(live[0][Tag::activation], 128 + 1024 + 2048);
  EXPECT_EQ(live[1][Tag::activation], 128 + 2048 + 64);  // 60 B take 64
  EXPECT_EQ(live[2][Tag::activation], 128 + 64);
  EXPECT_EQ(live[0][Tag::workspace], 640);
  EXPECT_EQ(live[1][Tag::workspace], 0);
  EXPECT_EQ(live[1][Tag::logits], 0);
  EXPECT_EQ(live[2][Tag::logits], 4096);
  for (const MemoryByTag& m : live) EXPECT_EQ(m[Tag::weights], 256);

  // A step before this one has taken the same logits: they are there from the start.
  c.apply(StepKind::body, a, logits);
  EXPECT_EQ(live_memory(c.plan, StepKind::tail, workspace)[0][Tag::logits], 4096);
  EXPECT_EQ(live_memory(c.plan, StepKind::body, workspace)[0][Tag::activation], 128 + 1024);
}

}  // namespace
}  // namespace tidemark
