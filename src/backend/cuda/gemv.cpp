// Which shape of the kernels in gemv.cu runs a product, and what it is called.
#include "backend/cuda/gemv.h"

#include <fmt/format.h>

#include <algorithm>

namespace tidemark::cuda {
namespace {

bool aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

int vector_of(const GemvArgs& a) {
  return a.dtype == DType::bf16 ? 8 : 4;
}

bool can_stream(const GemvArgs& a) {
  const int vector = vector_of(a);
  return aligned(a.x) && aligned(a.weight) && a.k % vector == 0 && a.x_stride % vector == 0 &&
         a.weight_stride % vector == 0 && int64_t{a.m} * a.k * 16 / vector <= 128 * 1024;
}

}  // namespace

bool gemv_takes_prologue(const GemvArgs& a) {
  return can_stream(a) && aligned(a.norm_weight) && aligned(a.up) &&
         a.up_stride % vector_of(a) == 0;
}

GemvChoice choose_gemv(const GemvArgs& a, int sm_count) {
  GemvChoice c;
  if (!can_stream(a)) {
    c.blocks = (a.n + 7) / 8;
    return c;
  }
  c.stream = true;
  // One block per multiprocessor leaves room for the next kernel's, which fills its rings
  // meanwhile. Few rows: the warps of a block share them out along k.
  const int loads_per_row = (a.k / vector_of(a) + 31) / 32;
  while (c.warps_on_k < 8 && int64_t{a.n} * c.warps_on_k < int64_t{sm_count} * 8 &&
         loads_per_row >= 4 * c.warps_on_k)
    c.warps_on_k *= 2;
  c.blocks = std::min(sm_count, (a.n * c.warps_on_k + 7) / 8);
  return c;
}

std::string name(const GemvArgs& a, const GemvChoice& c) {
  constexpr std::string_view prologues[] = {"", " with rms norm", " with glu"};
  if (!c.stream) return "gemv plain loads";
  return fmt::format("gemv stream k/{}{}", c.warps_on_k,
                     prologues[static_cast<size_t>(a.prologue)]);
}

}  // namespace tidemark::cuda
