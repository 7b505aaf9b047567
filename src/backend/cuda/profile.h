// Where the time of one step goes on the GPU, operator by operator: CUPTI activity records of
// kernels, copies and fills, tied to the plan's nodes.
#pragma once

#include <cstdint>

#include "backend/backend.h"

namespace tidemark::cuda {

class CudaBackend;

// Kernels run one after the other, without launch overlap, so that the nodes' times, each the sum
// of what the node put on the device, add up to what the device was busy for. False where CUPTI is
// missing or does not record: nothing has run then.
bool profile_on_device(CudaBackend&, StepKind, int64_t past, StepProfile& out);

}  // namespace tidemark::cuda
