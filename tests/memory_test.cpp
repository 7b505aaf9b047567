// What the CPU's arenas say was used, against what a run must have used.
#include <gtest/gtest.h>

#include <filesystem>

#include "app/session.h"
#include "backend/executor.h"
#include "plan/plan.h"

namespace tidemark {
namespace {

// llama-3.2-tiny: 4 layers, 2 key/value heads of 16: the last slot in use lies in the last head.
TEST(Memory, KvCacheIsMarkedAsFarAsItIsFilled) {
  const Model model = open_model(
      (std::filesystem::path(TIDEMARK_TEST_DATA) / "golden/llama-3.2-tiny").string(), false, 0);
  const Plan plan =
      build_plan(model.spec, {.batch = 2, .context = 10, .new_tokens = 90, .chunk = 4});
  const auto backend = open_backend("cpu", 2, 0);
  Executor executor(plan, *backend);
  fill_weights(executor, *model.weights);
  executor.set_prompt(random_prompt(2, 10, model.spec.vocab, 1));
  executor.prefill();
  constexpr int64_t slot = 16 * 4, capacity = 10 + 90 - 1;
  EXPECT_EQ(executor.layout().size_bytes[Tag::kv_cache], 4 * 2 * 2 * 2 * capacity * slot);
  EXPECT_EQ(backend->high_water()[Tag::kv_cache],
            (4 * 2 * 2 * 2 * capacity - (capacity - 10)) * slot);
  for (int64_t past = 10; past < capacity; ++past) executor.decode(past);
  EXPECT_EQ(backend->high_water(), executor.layout().size_bytes);
}

}  // namespace
}  // namespace tidemark
