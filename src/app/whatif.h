// What a faster unit, more bandwidth or a bigger memory would give: Amdahl over the plan.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/prediction.h"

namespace tidemark {

// compute, bandwidth, launch, memory: a resource of the device, `factor` times as much of it.
// A kernel class, or ssm_scan for all that scan: these kernels alone, `factor` times as fast.
struct Scale {
  std::string name;
  double factor = 1;
};
// "ssm_scan=4x,bandwidth=2x"; fails with the known names.
std::vector<Scale> parse_scales(const std::string& text);
std::vector<std::string> scale_names();

struct Gain {
  std::string what;                  // "bandwidth 2x", or "all of them"
  std::optional<double> ttft, tpot;  // before over after; absent where it does not fit
  std::optional<double> energy;
};

struct WhatIf {
  int64_t context = 0;
  Record before;
  std::vector<Gain> gains;  // each scale alone, then all together when there are several
};
WhatIf what_if(const ModelSpec&, const DeviceProfile&, const Workload&, EngineModel,
               const std::vector<Scale>&);

// The resource, of compute, bandwidth and launch, that shortens a generation (prefill and all
// decode steps) most when doubled; memory where the plan does not fit.
Gain best_purchase(const ModelSpec&, const DeviceProfile&, const Workload&, EngineModel);

}  // namespace tidemark
