// Which kernel and shape of it runs a product of few rows, and what it is called.
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

bool has_long_rows(const GemvArgs& a, int vector) {
  return vector > 1 && (a.k + vector - 1) / vector > short_row;
}

bool aligned_norm(const GemvArgs& a) {
  constexpr int64_t most_bytes = 12288;  // of x in shared memory, beside weights ahead
  return !a.norm.weight || (aligned(a.norm.weight) && aligned(a.norm.out) &&
                            a.k * (a.dtype == DType::bf16 ? 2 : 4) <= most_bytes);
}

}  // namespace

bool gemv_takes_along(const GemvArgs& a) {
  const bool changes_out = a.tail != GemvTail::none;
  return a.m == 1 && has_long_rows(a, vector_of(a)) && aligned_norm(a) &&
         (!changes_out || (!a.accumulate && a.out_dtype == a.dtype && a.n % 2 == 0));
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
  if (a.tail == GemvTail::rope) {
    c.rows = 2;
    while (c.warps_on_k < 8 && a.n / 2 * c.warps_on_k < enough / 2 &&
           loads_per_row > 32 * c.warps_on_k)
      c.warps_on_k *= 2;
    return c;
  }
  if (a.n >= 4 * few) {
    c.rows = 4;
  } else if (a.n >= 2 * few || a.tail == GemvTail::glu) {
    c.rows = 2;
  } else {
    while (c.warps_on_k < 8 && a.n * c.warps_on_k < enough && loads_per_row > 32 * c.warps_on_k)
      c.warps_on_k *= 2;
    if (loads_per_row > 768) c.warps_on_k = 8;
  }
  return c;
}

std::string name(const GemvArgs& a, const GemvChoice& c) {
  constexpr const char* tails[] = {"", ", gated unit", ", conv", ", rope"};
  return fmt::format("gemv v{} r{} l{} k{}{}{}", c.vector, c.rows, c.lanes, c.warps_on_k,
                     a.norm.weight ? ", norm" : "", tails[static_cast<int>(a.tail)]);
}

}  // namespace tidemark::cuda
