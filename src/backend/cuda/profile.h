// Where the time of one step goes on the GPU, operator by operator: CUPTI activity records of
// kernels, copies and fills, tied to the plan's nodes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "plan/plan.h"

namespace tidemark {

class Backend;

struct NodeProfile {
  double device_s = 0;  // the sum of what the node put on the device
  double host_s = 0;    // spent launching it
  int32_t launches = 0;
};

// device + host_dispatch + idle = wall. Kernels run one after the other, without launch overlap, so
// that the nodes' device times add up to the step's.
struct StepProfile {
  std::vector<NodeProfile> nodes;  // in the order of the step's nodes
  double wall_s = 0;               // from the first launch to the end of the last kernel
  double device_s = 0;             // of it, with something running on the device
  double host_dispatch_s = 0;      // nothing running, the host still launching
  double idle_s = 0;               // neither
  std::string problem;             // why there are no nodes: no CUPTI
};

class GpuProfiler {
 public:
  // `backend` must come from make_cuda_backend.
  explicit GpuProfiler(Backend& backend);
  ~GpuProfiler();
  StepProfile profile(StepKind, int64_t past);

 private:
  struct Recorder;
  Backend& backend_;
  std::unique_ptr<Recorder> recorder_;
};

}  // namespace tidemark
