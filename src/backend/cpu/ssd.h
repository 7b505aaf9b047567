// The way that ssd.cpp has to run blocks in bf16 (ssd_bf16.cpp), on the unit of the context.
#pragma once

#include "backend/cpu/bf16_product.h"
#include "backend/cpu/context.h"
#include "plan/ops.h"

namespace tidemark::cpu {

int64_t bf16_ssd_bytes(const Ssd& op, const CpuContext& context);
void run_bf16_ssd(const Ssd& op, const CpuContext& context);

}  // namespace tidemark::cpu
