#include "backend/cuda/attention.h"

namespace tidemark::cuda {

bool attention_rows_aligned(const AttentionArgs& a) {
  const auto aligned = [](const void* pointer, uintptr_t to) {
    return reinterpret_cast<uintptr_t>(pointer) % to == 0;
  };
  return a.q_stride % 8 == 0 && a.k_stride % 8 == 0 && a.v_stride % 8 == 0 &&
         a.out_stride % 2 == 0 && aligned(a.q, 16) && aligned(a.k, 16) && aligned(a.v, 16) &&
         aligned(a.k_cache, 16) && aligned(a.v_cache, 16) && aligned(a.out, 4);
}

}  // namespace tidemark::cuda
