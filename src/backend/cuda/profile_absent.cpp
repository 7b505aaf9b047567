// Built where CUPTI's headers are missing.
#include "backend/cuda/profile.h"

namespace tidemark {

struct GpuProfiler::Recorder {};
GpuProfiler::GpuProfiler(Backend& backend) : backend_(backend) {}
GpuProfiler::~GpuProfiler() = default;
StepProfile GpuProfiler::profile(StepKind, int64_t) {
  StepProfile profile;
  profile.problem = "built without CUPTI";
  return profile;
}

}  // namespace tidemark
