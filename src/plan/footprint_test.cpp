// What sequences cost in memory, against published figures and sizes worked out by hand.
#include "plan/footprint.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "model/load.h"
#include "plan/memory.h"

namespace tidemark {
namespace {

constexpr int64_t kib = 1024;

int64_t kv_bytes(const ModelSpec& spec, int64_t context) {
  const Plan plan = build_plan(spec, {.context = context, .dtype = DType::bf16});
  return layout_memory(plan, [](const Node&) { return 0; }).size_bytes[Tag::kv_cache];
}

TEST(Footprint, KvBytesPerTokenAreThePublishedOnes) {
  const std::pair<const char*, int64_t> published[] = {{"zamba2-1.2b", 96},
                                                       {"phi-3-mini-4k", 384},
                                                       {"qwen2.5-0.5b", 12},
                                                       {"qwen2.5-1.5b", 28},
                                                       {"llama-3.2-1b", 32}};
  for (const auto& [model, size] : published)
    EXPECT_EQ(footprint(load_spec(model), DType::bf16).kv_bytes_per_token, size * kib) << model;
  EXPECT_EQ(footprint(load_spec("falcon-mamba-7b"), DType::bf16).kv_bytes_per_token, 0);
}

// A position of one layer: 5 KV heads, keys of 64 and values of 128, in bf16.
constexpr int64_t hymba_position = 5 * (64 + 128) * 2;

TEST(Footprint, HymbaKeepsItsWindowsAndMetaTokensOnce) {
  // 32 layers, of which 13 read the layer before them and two more the layer before those; 3 of
  // the others are global.
  constexpr int64_t caches = 32 - 15, global = 3, meta = 128, window = 1025;
  const ModelSpec spec = load_spec("hymba-1.5b");
  const Footprint f = footprint(spec, DType::bf16);
  EXPECT_EQ(f.kv_bytes_per_token, caches * hymba_position);
  EXPECT_EQ(f.kv_bytes_per_token_beyond, global * hymba_position);
  EXPECT_EQ(f.fixed_kv_bytes,
            (global * meta + (caches - global) * (meta + window)) * hymba_position);
  EXPECT_EQ(kv_bytes(spec, 65536),
            (global * (meta + 65536) + (caches - global) * (meta + window)) * hymba_position);
}

TEST(Footprint, SlidingWindowsStopGrowing) {
  const ModelSpec phi = load_spec("phi-3-mini-4k");
  EXPECT_EQ(kv_bytes(phi, 2047), 2047 * 384 * kib);
  EXPECT_EQ(kv_bytes(phi, 4096), 2047 * 384 * kib);
  // One of three RecurrentGemma layers attends, with one KV head of 256 over 2048 positions.
  EXPECT_EQ(kv_bytes(load_spec("recurrentgemma-2b"), 100000), 8 * 2 * 256 * 2 * 2048);
}

TEST(Footprint, FixedStateIsCountedPerSequence) {
  // Qwen3-Next: 36 delta layers with 32 heads of 128 x 128 in fp32; convolutions over 8192
  // channels of width 4 in bf16.
  const Footprint f = footprint(load_spec("qwen3-next-80b-a3b"), DType::bf16);
  EXPECT_EQ(f.ssm_state_bytes, int64_t{36} * 32 * 128 * 128 * 4);
  EXPECT_EQ(f.conv_state_bytes, int64_t{36} * 8192 * 3 * 2);
}

TEST(Plan, LearnedPositionsBoundTheContext) {
  const ModelSpec spec = load_spec("gpt-neo-125m");
  EXPECT_NO_THROW(build_plan(spec, {.context = 2041, .new_tokens = 8}));
  try {
    build_plan(spec, {.context = 2042, .new_tokens = 8});
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "context: gpt-neo-125m has 2048 learned positions, found 2049 for the prompt and "
                 "what is generated");
  }
}

// The longest of a group's readers fills the ring, so that every one still finds the old keys.
TEST(Plan, SharedKeysAreAppendedByTheirLastReader) {
  const ModelSpec spec = load_spec("hymba-1.5b");
  const Plan plan = build_plan(spec, {.context = 64, .chunk = 32});
  std::vector<int32_t> appending;
  for (const Node& node : plan.step(StepKind::tail).nodes)
    if (std::holds_alternative<KvAppend>(node.op)) appending.push_back(node.layer);
  EXPECT_EQ(appending, (std::vector<int32_t>{2, 4, 6, 8, 10, 12, 14, 18, 20, 22, 24, 26, 28, 30}));
}

TEST(Plan, RopeTakesLongFactorsBeyondTheOriginalLength) {
  ModelSpec spec = load_spec("phi-3-mini-4k");
  for (LayerSpec& layer : spec.layers) {
    RopeSpec& rope = *std::get<AttentionBlock>(layer.sublayers[0].parallel[0]).rope;
    rope.long_inv_freq.assign(rope.inv_freq.size(), 0.25);
    rope.short_positions = 4096;
  }
  const auto first_frequency = [&](int64_t context) {
    const Plan plan = build_plan(spec, {.context = context, .chunk = 512});
    for (const Node& node : plan.step(StepKind::tail).nodes)
      if (const auto* rope = std::get_if<Rope>(&node.op)) return rope->inv_freq[0];
    return 0.0F;
  };
  EXPECT_EQ(first_frequency(4096), 1.0F);
  EXPECT_EQ(first_frequency(4097), 0.25F);
}

}  // namespace
}  // namespace tidemark
