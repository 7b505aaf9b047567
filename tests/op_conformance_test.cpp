#include "op_conformance.h"

#include <gtest/gtest.h>

#include <string>

#include "backend/cpu/cpu_backend.h"
#include "emulated_tiles.h"

namespace tidemark {
namespace {

// Scores of 10 and more, rounded to fp32, go through an exp.
constexpr Tolerance tolerance = {.f32 = 2e-6, .bf16 = 4e-3, .state = 2e-6};
// Where inputs of the products inside attention and SSD are rounded to bf16, so are the terms that
// a state is summed from.
constexpr Tolerance rounded = {.f32 = 2e-6, .bf16 = 4e-3, .state = 4e-3};

void expect_conforming(DType dtype, const cpu::Bf16Unit* unit) {
  for (int threads : {1, 2, 7}) {
    SCOPED_TRACE(threads);
    CpuBackend backend(threads, 0, unit);
    expect_conforming(backend, dtype, dtype == DType::bf16 && unit ? rounded : tolerance);
  }
}

TEST(CpuConformance, F32) {
  expect_conforming(DType::f32, cpu::bf16_unit());
}

TEST(CpuConformance, Bf16InFp32) {
  expect_conforming(DType::bf16, nullptr);
}

TEST(CpuConformance, Bf16OnEmulatedTiles) {
  expect_conforming(DType::bf16, &cpu::emulated_tiles);
}

TEST(CpuConformance, Bf16OnDots) {
  if (!cpu::dot_unit()) GTEST_SKIP() << "no processor with fast vdpbf16ps";
  expect_conforming(DType::bf16, cpu::dot_unit());
}

TEST(CpuConformance, Bf16OnAmx) {
  if (!cpu::amx_unit()) GTEST_SKIP() << "no AMX";
  expect_conforming(DType::bf16, cpu::amx_unit());
}

TEST(CpuConformance, Int8Weights) {
  expect_conforming(DType::w8a8, nullptr);
  expect_conforming(DType::w8a16, nullptr);
}

TEST(CpuConformance, Int8WeightsOnUnits) {
  for (const DType dtype : {DType::w8a16, DType::w8a8}) {
    expect_conforming(dtype, &cpu::emulated_tiles);
    if (cpu::bf16_unit()) expect_conforming(dtype, cpu::bf16_unit());
  }
}

}  // namespace
}  // namespace tidemark
