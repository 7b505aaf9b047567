// From a plan and a device profile to a Record: what running it would measure.
#pragma once

#include "base/memory_by_tag.h"
#include "cost/launches.h"
#include "cost/roofline.h"
#include "device/profile.h"
#include "plan/pass.h"
#include "record/record.h"

namespace tidemark {

struct PredictOptions {
  Launches launches{};  // empty: this program, one kernel per operator
  Scales scales{};
};

// What a node of a step takes, summed over the steps that share its row.
struct NodePrediction {
  Cost cost{};
  int64_t calls = 0;
  double time_s = 0, low_s = 0, high_s = 0;
  double compute_s = 0, bandwidth_s = 0, launch_s = 0;  // the parts of its kernels' Timing
  double energy_j = 0;
  Bound bound() const;
};

// The device works through the kernels in order, each no earlier than the host has issued it.
struct PassPrediction {
  std::vector<const Node*> nodes;    // in the plan's tail, or its decode step
  std::vector<NodePrediction> rows;  // of each
  double wall_s = 0, low_s = 0, high_s = 0;
  double busy_s = 0, host_s = 0;  // of the device; of the host, which overlaps it
  double energy_j = 0, energy_low_j = 0, energy_high_j = 0;
};

// Costs change with the position, and piecewise linearly: where they are linear, the steps of a
// prefill or a generation are summed without walking each.
PassPrediction predict_prefill(const Plan&, const DeviceProfile&, const PredictOptions& = {});
// Decode steps `first` to `last`, counted from 0; needs a plan with decode steps.
PassPrediction predict_decode(const Plan&, const DeviceProfile&, int64_t first, int64_t last,
                              const PredictOptions& = {});

// TTFT, TPOT, operators, energy and `memory`, with source predicted. A plan that does not fit the
// device's memory gives Outcome::out_of_memory and no times. Provenance is the caller's to fill.
Record predict(const Plan&, const DeviceProfile&, const MemoryByTag& memory,
               const PredictOptions& = {});

}  // namespace tidemark
