#include "app/limit.h"

#include <gtest/gtest.h>

#include "backend/cuda_plan.h"
#include "cost/eager.h"
#include "model/load.h"

namespace tidemark {
namespace {

int64_t no_workspace(const Node&) {
  return 0;
}
MemoryByTag planned(const Plan& plan) {
  return layout_memory(plan, no_workspace).size_bytes;
}

constexpr int64_t gib = int64_t{1} << 30;

// KV of Qwen2.5-0.5B is 12 KiB per token in bf16 (docs/models.md), ids are 4 bytes; all else is
// fixed once the chunk is full, so the limit follows by division from the memory at any context.
TEST(Limit, IsExactForAGrowingCache) {
  const ModelSpec spec = load_spec("qwen2.5-0.5b");
  const LimitRequest request{.workload = {.chunk = 512, .dtype = DType::bf16},
                             .budget_bytes = 4 * gib};
  const Limit limit = find_limit(spec, request, planned);
  const int64_t fixed = planned(plan_at(spec, request, 1 << 16)).total() - (1 << 16) * (12288 + 4);
  EXPECT_NEAR(static_cast<double>(limit.context),
              static_cast<double>((4 * gib - fixed) / (12288 + 4)), 16);  // 64-byte rounding of ids
  EXPECT_LE(limit.fits.total(), 4 * gib);
  EXPECT_GT(limit.beyond.total(), 4 * gib);
  EXPECT_EQ(limit.broken_by, Tag::kv_cache);
}

TEST(Limit, NamesTheLogitsOfAllPositions) {
  const ModelSpec spec = load_spec("mamba2-130m");
  const Limit limit =
      find_limit(spec,
                 {.workload = {.chunk = 512, .dtype = DType::bf16, .logits = LogitsPolicy::all},
                  .budget_bytes = 2 * gib},
                 planned);
  EXPECT_EQ(limit.broken_by, Tag::logits);
  EXPECT_GT(limit.context, 8192);
  EXPECT_LT(limit.context, 2 * gib / (50288 * 4));
}

TEST(Limit, WeightsThatDoNotFitAreNamed) {
  const Limit limit =
      find_limit(load_spec("mamba2-130m"),
                 {.workload = {.dtype = DType::bf16}, .budget_bytes = 100 << 20}, planned);
  EXPECT_EQ(limit.context, 0);
  EXPECT_EQ(limit.broken_by, Tag::weights);
}

// The study measured a framework's whole pass on a 24 GB card: the last contexts that ran were
// 220000 and 57344 tokens, of the grid that goes on by 8192 with Qwen2.5.
TEST(Limit, ReachesWhatTheStudyReached) {
  const auto whole_pass_limit = [](const char* model) {
    const ModelSpec spec = load_spec(model);
    const DeviceProfile profile = load_profile("rtx4090");
    return find_limit(
               spec,
               {.workload = eager_workload({.dtype = DType::bf16}),
                .whole_chunk = true,
                .budget_bytes = 24 * gib},
               [&](const Plan& plan) { return eager_memory(plan, eager_options(spec), profile); })
        .context;
  };
  EXPECT_GE(whole_pass_limit("mamba2-780m"), 220000);
  EXPECT_LT(whole_pass_limit("mamba2-780m"), 240000);
  EXPECT_GE(whole_pass_limit("qwen2.5-0.5b"), 57344);
  EXPECT_LT(whole_pass_limit("qwen2.5-0.5b"), 57344 + 8192);
}

TEST(Limit, EndsWithLearnedPositions) {
  const Limit limit = find_limit(
      load_spec("gpt-neo-125m"),
      {.workload = {.new_tokens = 9, .chunk = 512, .dtype = DType::bf16}, .budget_bytes = 8 * gib},
      planned);
  EXPECT_TRUE(limit.unbounded);
  EXPECT_EQ(limit.context, 2040);  // 2048 in its config.json; the last token is only put out
}

// Up to a context as long as a chunk the whole prompt is one step, the meta tokens included: 512
// tokens of Hymba run 640 rows at once, 513 run 512 and 129.
TEST(Limit, LooksBeyondTheChunkThatHoldsMetaTokensToo) {
  const ModelSpec spec = load_spec("hymba-1.5b");
  LimitRequest request{.workload = {.chunk = 512, .dtype = DType::bf16}};
  const auto bytes = [&](int64_t context) {
    return layout_on_cuda(plan_at(spec, request, context)).size_bytes.total();
  };
  for (const int64_t budget : {bytes(460) - 1, bytes(513), bytes(513) - 1, bytes(618)}) {
    request.budget_bytes = budget;
    int64_t longest = 0;
    for (int64_t context = 1; context <= 1024; ++context)
      if (bytes(context) <= budget) longest = context;
    EXPECT_EQ(
        find_limit(spec, request, [](const Plan& plan) { return layout_on_cuda(plan).size_bytes; })
            .context,
        longest)
        << budget;
  }
}

// Upwards, too: what a driver takes of a GPU is less in one process than in another.
TEST(Limit, IsFoundByRunsWhereTheyContradictThePlan) {
  for (const int64_t most : {1000, 23000})
    for (const int64_t really : {0, 1, 411, 899, 900, 901, 902, 950, 1000}) {
      int calls = 0;
      const auto runs = [&](int64_t context) {
        ++calls;
        EXPECT_LE(context, most);
        return context <= really;
      };
      for (const int64_t planned : {0, 1, 900, 1000}) {
        calls = 0;
        EXPECT_EQ(find_measured_limit(planned, most, runs), really) << planned;
        EXPECT_LE(calls, 22) << planned;
      }
    }
}

// Scratch that falls with the context must not hide a longer one that fits.
TEST(Limit, LooksBeyondADip) {
  const LimitRequest request{.workload = {.chunk = 64}, .budget_bytes = 1000};
  const auto dips = [](const Plan& plan) {
    MemoryByTag memory;
    const int64_t context = plan.workload.context;
    memory[Tag::workspace] = context <= 600 || context % 64 == 0 ? context : context + 600;
    return memory;
  };
  EXPECT_EQ(find_limit(load_spec("mamba2-130m"), request, dips).context, 960);
}

}  // namespace
}  // namespace tidemark
