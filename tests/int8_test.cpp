// Reference checkpoints computed with 8-bit weights, against what they record in fp32.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "app/verify.h"
#include "backend/cpu/cpu_backend.h"
#include "base/error.h"
#include "emulated_tiles.h"

namespace tidemark {
namespace {

double error_of(const VerifyResult& result, const std::string& tensor) {
  for (const TensorError& t : result.tensors)
    if (t.tensor == tensor) return t.relative;
  ADD_FAILURE() << tensor;
  return 0;
}

// Where it is wider than the dtype's own: most are beyond that of bf16 in bf16, too, and where a
// token chooses other experts than the reference nothing is near (docs/quantization.md).
double tolerance(DType dtype, const std::string& folder) {
  const bool a8 = dtype == DType::w8a8;
  if (folder.starts_with("qwen3-next") || folder == "nemotron-moe-tiny") return 3e-1;
  if (folder.starts_with("zamba2") || folder == "jamba-moe-tiny") return a8 ? 2e-1 : 1.3e-1;
  if (folder == "hymba-tiny") return a8 ? 1.05e-1 : 6.5e-2;
  if (a8) return 0;  // the dtype's own
  if (folder == "bamba-bias-tiny") return 4.7e-2;
  return folder == "jamba-tiny" || folder == "phi3-longrope-long-tiny" ? 3.8e-2 : 0;
}

void expect_logits_within_tolerance(Backend& backend) {
  for (const DType dtype : {DType::w8a16, DType::w8a8})
    for (const auto& entry : std::filesystem::directory_iterator(TIDEMARK_TEST_DATA "/golden")) {
      if (!entry.is_directory()) continue;
      const std::string folder = entry.path().filename().string();
      SCOPED_TRACE(std::string(name(dtype)) + " " + folder);
      // 16 tokens of 2 sequences take the products of many rows, decode those of few.
      const VerifyOptions options{
          .dtype = dtype, .chunk = 16, .tolerance = tolerance(dtype, folder)};
      const VerifyResult result = verify_folder(entry.path(), backend, options);
      const double logits = error_of(result, "logits");
      EXPECT_TRUE(result.ok()) << logits << ", decode " << error_of(result, "decode_logits");
      // Weights that were left in 16 bits would go unnoticed otherwise.
      EXPECT_GT(logits, 5e-3);
    }
}

TEST(Int8Golden, LogitsAreWithinTheToleranceOfTheDtype) {
  expect_logits_within_tolerance(*make_cpu_backend(2, 0));
}

// With AMX's layouts of weights and, for a tied head, of the embedding.
TEST(Int8Golden, OnEmulatedTilesToo) {
  CpuBackend backend(2, 0, &cpu::emulated_tiles);
  expect_logits_within_tolerance(backend);
}

}  // namespace
}  // namespace tidemark
