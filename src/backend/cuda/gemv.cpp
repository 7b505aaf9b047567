// Which shape of gemv_kernel runs a product, and what it is called.
#include "backend/cuda/gemv.h"

#include <fmt/format.h>

namespace tidemark::cuda {
namespace {

bool aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

int vector_of(const GemvArgs& a) {
  const int vector = a.dtype == DType::bf16 ? 8 : 4;
  const bool rows_aligned = aligned(a.x) && aligned(a.weight) && a.k % vector == 0 &&
                            a.x_stride % vector == 0 && a.weight_stride % vector == 0;
  return rows_aligned ? vector : 1;
}

// Rows of so few loads are shared by 8 lanes, not 32.
constexpr int short_row = 24;

}  // namespace

bool gemv_takes_along(const GemvArgs& a) {
  const int vector = vector_of(a);
  const bool lanes_of_a_row = (a.k + vector - 1) / vector > short_row;
  return a.m == 1 && vector > 1 && lanes_of_a_row && aligned(a.norm_weight) &&
         (!a.glu || (a.n % 2 == 0 && !a.accumulate));
}

GemvChoice choose_gemv(const GemvArgs& a, int sm_count) {
  GemvChoice c;
  c.vector = vector_of(a);
  if (c.vector == 1) return c;
  const int loads_per_row = (a.k + c.vector - 1) / c.vector;
  if (loads_per_row <= short_row) {
    c.lanes = 8;
    return c;
  }
  // 15 to 30 warps a multiprocessor, as measured on an H200: many rows are taken several at a time,
  // few are split along k.
  const int64_t few = int64_t{sm_count} * 16, enough = int64_t{sm_count} * 23;
  if (a.n >= 4 * few) {
    c.rows = 4;
  } else if (a.n >= 2 * few || a.glu) {
    c.rows = 2;
  } else {
    while (c.warps_on_k < 8 && a.n * c.warps_on_k < enough && loads_per_row > 32 * c.warps_on_k)
      c.warps_on_k *= 2;
    if (loads_per_row > 768) c.warps_on_k = 8;
  }
  return c;
}

std::string name(const GemvArgs& a, const GemvChoice& c) {
  return fmt::format("gemv v{} r{} l{} k{}{}{}", c.vector, c.rows, c.lanes, c.warps_on_k,
                     a.norm_weight ? " with norm" : "", a.glu ? " with gated unit" : "");
}

}  // namespace tidemark::cuda
