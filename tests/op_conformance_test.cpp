#include "op_conformance.h"

#include <gtest/gtest.h>

#include <string>

namespace tidemark {
namespace {

// Scores of 10 and more, rounded to fp32, go through an exp.
constexpr Tolerance tolerance = {.f32 = 2e-6, .bf16 = 4e-3, .state = 2e-6};

TEST(CpuConformance, F32) {
  for (int threads : {1, 3}) {
    SCOPED_TRACE(threads);
    expect_conforming(*make_cpu_backend(threads, 0), DType::f32, tolerance);
  }
}

TEST(CpuConformance, Bf16) {
  for (int threads : {1, 3}) {
    SCOPED_TRACE(threads);
    expect_conforming(*make_cpu_backend(threads, 0), DType::bf16, tolerance);
  }
}

TEST(CpuConformance, Int8Weights) {
  for (const DType dtype : {DType::w8a16, DType::w8a8})
    for (int threads : {1, 3}) {
      SCOPED_TRACE(std::string(name(dtype)) + ", threads " + std::to_string(threads));
      expect_conforming(*make_cpu_backend(threads, 0), dtype, tolerance);
    }
}

}  // namespace
}  // namespace tidemark
