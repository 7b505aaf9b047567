// Memory of a framework's pass against arithmetic by hand from the models' dimensions.
#include <gtest/gtest.h>

#include "cost/eager.h"
#include "model/load.h"

namespace tidemark {
namespace {

MemoryByTag memory_of(const std::string& model, int64_t context) {
  const ModelSpec spec = load_spec(model);
  return eager_memory(
      build_plan(spec, eager_workload({.context = context, .dtype = DType::bf16})),
      eager_options(spec));
}

// transformers, modeling_falcon_h1.py: self.lm_head(hidden_states) * self.model.lm_head_multiplier.
// 32784 rows of the head, 2 bytes, two tensors; Qwen2.5's 151936 are not scaled.
TEST(EagerMemory, ScaledLogitsAreThereTwice) {
  EXPECT_EQ(memory_of("falcon-h1-0.5b", 32768)[Tag::logits], 2 * 2 * 32768LL * 32784);
  EXPECT_EQ(memory_of("qwen2.5-0.5b", 8192)[Tag::logits], 2 * 8192LL * 151936);
}

}  // namespace
}  // namespace tidemark
