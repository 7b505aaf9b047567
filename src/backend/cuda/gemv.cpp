// Which shape of gemv_kernel runs a product, and what it is called.
#include "backend/cuda/gemv.h"

#include <fmt/format.h>

namespace tidemark::cuda {
namespace {

bool aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

}  // namespace

GemvChoice choose_gemv(const GemvArgs& a, int sm_count) {
  GemvChoice c;
  const int vector = a.dtype == DType::bf16 ? 8 : 4;
  if (!aligned(a.x) || !aligned(a.weight) || a.k % vector || a.x_stride % vector ||
      a.weight_stride % vector)
    return c;
  c.vector = vector;
  const int resident_warps = sm_count * 64;
  const int loads_per_row = (a.k + vector - 1) / vector;
  if (loads_per_row <= 24) {
    c.lanes = 8;
  } else if (a.n > 4 * resident_warps) {
    c.rows = 4;
  } else if (a.n > resident_warps) {
    c.rows = 2;
  } else {
    // Few rows: split k until every lane's loads are in flight at once or the chip is full.
    while (c.warps_on_k < 8 && loads_per_row > 32 * 6 * c.warps_on_k &&
           int64_t{a.n} * c.warps_on_k * 2 <= resident_warps)
      c.warps_on_k *= 2;
  }
  return c;
}

std::string name(const GemvChoice& c) {
  return fmt::format("gemv v{} r{} l{} k{}", c.vector, c.rows, c.lanes, c.warps_on_k);
}

}  // namespace tidemark::cuda
