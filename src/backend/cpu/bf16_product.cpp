#include "backend/cpu/bf16_product.h"

#include "backend/cpu/max_isa.h"

namespace tidemark::cpu {

const Bf16Unit* bf16_unit() {
  const Isa most = max_isa();
  if (most >= Isa::all && amx_unit()) return amx_unit();
  return most >= Isa::avx512_bf16 ? dot_unit() : nullptr;
}

}  // namespace tidemark::cpu
