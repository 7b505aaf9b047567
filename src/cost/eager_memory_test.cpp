// Memory of a framework's pass against arithmetic by hand from the models' dimensions.
#include <gtest/gtest.h>

#include "cost/eager.h"
#include "model/load.h"

namespace tidemark {
namespace {

constexpr int64_t mib = 1024 * 1024;

MemoryByTag memory_of(const std::string& model, int64_t context,
                      const std::string& device = "rtx4090") {
  const ModelSpec spec = load_spec(model);
  return eager_memory(build_plan(spec, eager_workload({.context = context, .dtype = DType::bf16})),
                      eager_options(spec), load_profile(device));
}

// transformers, modeling_falcon_h1.py: self.lm_head(hidden_states) * self.model.lm_head_multiplier.
// 32784 rows of the head, 2 bytes, two tensors; Qwen2.5's 151936 are not scaled.
TEST(EagerMemory, ScaledLogitsAreThereTwice) {
  EXPECT_EQ(memory_of("falcon-h1-0.5b", 32768)[Tag::logits], 2 * 2 * 32768LL * 32784);
  EXPECT_EQ(memory_of("qwen2.5-0.5b", 8192)[Tag::logits], 2 * 8192LL * 151936);
}

// A plain forward pass of mamba_ssm (no inference_params) or of transformers' Falcon-H1 (no
// past_key_values) keeps nothing for later. Zamba2 makes its cache in bf16: 38 layers of 64 heads x
// 64 x 128; Qwen2.5 24 layers of 2 x 64, K and V.
TEST(EagerMemory, CachesAreThereWhereThePassMakesThem) {
  for (const std::string model : {"mamba-790m", "mamba2-780m", "falcon-h1-0.5b"})
    for (const Tag tag : {Tag::kv_cache, Tag::ssm_state, Tag::conv_state})
      EXPECT_EQ(memory_of(model, 4096)[tag], 0) << model << " " << name(tag);
  EXPECT_EQ(memory_of("zamba2-1.2b", 4096)[Tag::ssm_state], 38 * 64 * 64 * 128 * 2);
  EXPECT_EQ(memory_of("qwen2.5-0.5b", 4096)[Tag::kv_cache], 24 * 2 * 64 * 2 * 2 * 4096);
}

// Which families make a mask, by transformers' source: Qwen2's window is switched off, Phi-3's is
// not; jamba's rule knows no length.
TEST(EagerMemory, MasksAreMadeAsTheFamilyDoes) {
  const auto rule = [](const char* model) {
    const EagerOptions o = eager_options(load_spec(model));
    return std::tuple(o.masked_from, o.mask_making_bytes, o.mask_bytes);
  };
  EXPECT_EQ(rule("qwen2.5-0.5b"), std::tuple(32768, 2 + 1 + 2 + 1, 2));
  EXPECT_EQ(rule("phi-3-mini-4k"), std::tuple(2047, 2 + 1 + 1 + 2 + 1, 2));
  EXPECT_EQ(std::get<1>(rule("hymba-1.5b")), 2 + 2 + 2 + 1 + 2);
  for (const char* model : {"zamba2-1.2b", "jamba-reasoning-3b", "nemotron-h-8b"})
    EXPECT_EQ(rule(model), std::tuple(1, 2 + 1 + 2, 2)) << model;
  for (const char* model : {"falcon-h1-0.5b", "bamba-9b", "granite-4.0-h-micro", "lfm2-1.2b",
                            "llama-3.2-1b", "mamba2-780m"})
    EXPECT_EQ(std::get<0>(rule(model)), 0) << model;
}

// The worst moment of Zamba2 is the gated norm (4096 wide, three times f32) of the Mamba layer
// after the last shared block: beside it are the residual, the stream with the embedding, z x B C
// dt and the scan's output. The mask stays through the layers.
TEST(EagerMemory, LayersCanBeTheWorstMoment) {
  constexpr int64_t n = 16384, inner = 4096, xbc = inner + 2 * 128;
  const MemoryByTag memory = memory_of("zamba2-1.2b", n);
  EXPECT_EQ(memory[Tag::workspace], 2 * n * n + 12 * n * inner + mib * 65 / 8);
  EXPECT_EQ(memory[Tag::activation],
            2 * n * (2048 + 2 * 2048 + (inner + xbc + 64) + inner) + n * 4 + 64);
  EXPECT_EQ(memory_of("qwen2.5-0.5b", n)[Tag::workspace], mib * 65 / 8);
}

TEST(EagerMemory, NoMaskOverflows) {
  EXPECT_EQ(memory_of("qwen2.5-0.5b", int64_t{1} << 40)[Tag::workspace],
            (int64_t{1} << 60) + mib * 65 / 8);
}

// At 57344 tokens (896 wide, ids in 4 bytes) 6 bytes for each pair are more than all that follows:
// no layer has run, so no key is cached.
TEST(EagerMemory, WhileTheMaskIsMadeNothingIsCached) {
  constexpr int64_t n = 57344;
  const MemoryByTag memory = memory_of("qwen2.5-0.5b", n);
  EXPECT_EQ(memory[Tag::workspace], 6 * n * n + mib * 65 / 8);
  EXPECT_EQ(memory[Tag::kv_cache], 0);
  EXPECT_EQ(memory[Tag::logits], 0);
  EXPECT_EQ(memory[Tag::activation], n * 896 * 2 + n * 4 + 64);  // one id more, in whole 64 bytes
}

// Phi-3's window is 2047; 32 layers of 32 x 96, K and V, two bytes.
TEST(EagerMemory, CachesOfWindowsGrowOn) {
  EXPECT_EQ(memory_of("phi-3-mini", 8192)[Tag::kv_cache], 32LL * 32 * 96 * 2 * 2 * 8192);
}

// at::cuda::getChosenWorkspaceSize of PyTorch.
TEST(EagerMemory, TheLibrarysWorkspaceIsThere) {
  EXPECT_EQ(memory_of("mamba-130m", 1024, "rtx4090")[Tag::workspace], (2 * 4096 + 8 * 16) * 1024);
  EXPECT_EQ(memory_of("mamba-130m", 1024, "orin-nano-8gb")[Tag::workspace], mib * 65 / 8);
  EXPECT_EQ(memory_of("mamba-130m", 1024, "h200")[Tag::workspace], 32 * mib);
  EXPECT_EQ(memory_of("mamba-130m", 1024, "epyc-9654")[Tag::workspace], 0);
}

}  // namespace
}  // namespace tidemark
