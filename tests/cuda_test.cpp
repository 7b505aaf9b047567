// The CUDA backend against the scalar references and the golden folders; skipped where there is no
// GPU.
#include <gtest/gtest.h>

#include <filesystem>

#include "app/verify.h"
#include "backend/cuda_devices.h"
#include "base/error.h"
#include "op_conformance.h"

namespace tidemark {
namespace {

class Cuda : public testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    if (list_cuda_devices().empty()) GTEST_SKIP() << cuda_absence();
    backend_ = make_cuda_backend(0, 0);
  }
  std::unique_ptr<Backend> backend_;
};

TEST_P(Cuda, EveryOperatorAgreesWithItsReference) {
  const double state = GetParam() == DType::bf16 ? 8e-3 : 1e-5;
  expect_conforming(*backend_, GetParam(), {.f32 = 1e-5, .bf16 = 8e-3, .state = state});
}

// Of logits in bf16. Four of the tiny checkpoints cannot keep within 3e-2, whatever computes them:
// what rounding to bf16 does to each is in docs/models.md.
double bf16_tolerance(const std::string& folder) {
  if (folder == "qwen3-next-tiny") return 9e-2;
  if (folder == "zamba2-1.2b-tiny" || folder == "zamba2-2.7b-tiny") return 5e-2;
  return folder == "hymba-tiny" ? 4e-2 : 3e-2;
}

TEST_P(Cuda, GoldenFoldersPass) {
  for (const auto& entry : std::filesystem::directory_iterator(TIDEMARK_TEST_DATA "/golden"))
    for (const int64_t chunk : {1, 7, 16, 0}) {
      const std::string folder = entry.path().filename().string();
      SCOPED_TRACE(fmt::format("{} chunk {}", folder, chunk));
      VerifyOptions options;
      options.dtype = GetParam();
      options.chunk = chunk;
      if (GetParam() == DType::bf16) options.tolerance = bf16_tolerance(folder);
      try {
        const VerifyResult result = verify_folder(entry.path(), *backend_, options);
        for (const TensorError& t : result.tensors)
          EXPECT_TRUE(t.ok()) << t.tensor << " " << t.relative;
        EXPECT_TRUE(result.ok()) << result.decode_ids_equal << " of " << result.decode_ids;
      } catch (const Error& e) {
        ADD_FAILURE() << e.what();
      }
    }
}

INSTANTIATE_TEST_SUITE_P(DTypes, Cuda, testing::Values(DType::f32, DType::bf16),
                         [](const auto& info) { return std::string(name(info.param)); });

}  // namespace
}  // namespace tidemark
