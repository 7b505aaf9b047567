// Reference checkpoints computed with 8-bit weights, against what they record in fp32.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "app/session.h"
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

TEST(Int8Golden, LogitsAreWithinTheToleranceOfTheDtype) {
  const auto backend = make_cpu_backend(2, 0);
  for (const DType dtype : {DType::w8a16, DType::w8a8})
    for (const auto& entry : std::filesystem::directory_iterator(TIDEMARK_TEST_DATA "/golden")) {
      if (!entry.is_directory()) continue;
      SCOPED_TRACE(std::string(name(dtype)) + " " + entry.path().filename().string());
      VerifyOptions options{.dtype = dtype};
      const VerifyResult result = verify_folder(entry.path(), *backend, options);
      EXPECT_TRUE(result.ok()) << error_of(result, "logits") << " "
                               << error_of(result, "decode_logits");
      // A bug that leaves weights in 16 bits would go unnoticed otherwise.
      EXPECT_GT(error_of(result, "logits"), 1e-3);
    }
}

}  // namespace
}  // namespace tidemark
