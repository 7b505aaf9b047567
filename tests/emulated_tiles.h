// AMX's tile instructions as the manual defines them (Intel 64 and IA-32 Architectures Software
// Developer's Manual, volume 2: TILELOADD, TILESTORED, TDPBF16PS, TDPBSSD), for machines without
// them.
#pragma once

#include "backend/cpu/bf16_product.h"

namespace tidemark::cpu {

extern const Bf16Unit emulated_tiles;

}  // namespace tidemark::cpu
