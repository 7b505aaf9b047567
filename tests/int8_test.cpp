// Reference checkpoints computed with 8-bit weights, against what they record in fp32.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>

#include "app/verify.h"
#include "base/error.h"

namespace tidemark {
namespace {

double error_of(const VerifyResult& result, const std::string& tensor) {
  for (const TensorError& t : result.tensors)
    if (t.tensor == tensor) return t.relative;
  ADD_FAILURE() << tensor;
  return 0;
}

// Beyond the dtype's own tolerance (docs/quantization.md): the four that are beyond that of bf16,
// too, and the decode of jamba.
double tolerance(DType dtype, const std::string& folder) {
  static const std::map<std::string, double> w8a16 = {{"hymba-tiny", 6.5e-2},
                                                      {"jamba-tiny", 3.8e-2},
                                                      {"qwen3-next-tiny", 1.2e-1},
                                                      {"zamba2-1.2b-tiny", 8e-2},
                                                      {"zamba2-2.7b-tiny", 7.5e-2}};
  static const std::map<std::string, double> w8a8 = {{"hymba-tiny", 1.05e-1},
                                                     {"qwen3-next-tiny", 1.9e-1},
                                                     {"zamba2-1.2b-tiny", 1.4e-1},
                                                     {"zamba2-2.7b-tiny", 1.35e-1}};
  const auto& beyond = dtype == DType::w8a16 ? w8a16 : w8a8;
  const auto found = beyond.find(folder);
  return found == beyond.end() ? 0 : found->second;
}

TEST(Int8Golden, LogitsAreWithinTheToleranceOfTheDtype) {
  const auto backend = make_cpu_backend(2, 0);
  for (const DType dtype : {DType::w8a16, DType::w8a8})
    for (const auto& entry : std::filesystem::directory_iterator(TIDEMARK_TEST_DATA "/golden")) {
      if (!entry.is_directory()) continue;
      const std::string folder = entry.path().filename().string();
      SCOPED_TRACE(std::string(name(dtype)) + " " + folder);
      // 16 tokens of 2 sequences take the products of many rows, decode those of few.
      const VerifyOptions options{
          .dtype = dtype, .chunk = 16, .tolerance = tolerance(dtype, folder)};
      const VerifyResult result = verify_folder(entry.path(), *backend, options);
      const double logits = error_of(result, "logits");
      EXPECT_TRUE(result.ok()) << logits << ", decode " << error_of(result, "decode_logits");
      // Weights that were left in 16 bits would go unnoticed otherwise.
      EXPECT_GT(logits, 5e-3);
    }
}

}  // namespace
}  // namespace tidemark
