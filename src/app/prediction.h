// What predict, limit, crossover and whatif share: a record predicted from names and options.
#pragma once

#include <string>
#include <string_view>

#include "cost/eager.h"
#include "cost/predict.h"
#include "device/profile.h"
#include "model/spec.h"
#include "plan/plan.h"
#include "record/record.h"

namespace tidemark {

// own: this program, chunk by chunk. eager_full: a framework, cost/eager.h.
enum class EngineModel { own, eager_full };
std::string_view name(EngineModel);  // "own", "eager-full"
// The one of that name; names the option in its error.
EngineModel engine_option(const std::string& text);

// Of a framework, why it is not known what it runs: "--dtype: ..." or "--engine-model: ...". Empty
// where it is.
std::string unknown_part(EngineModel, const ModelSpec&, DType);
// Fails with that.
void require_known(EngineModel, const ModelSpec&, DType);

// "no GPU kernels in w8a8 yet"; empty where this program can run what is predicted.
std::string missing_kernels(DeviceKind, DType);
// Which operators of a plan are priced with what was measured of other kernels; "" where none are.
std::string priced_as_others(const Plan&, const DeviceProfile&);

// What the plan takes: of this program its arenas, with the scratch of the CPU backend (as it is on
// this machine) or of the CUDA one; of a framework what is alive at the worst moment, the mask
// included.
MemoryByTag predicted_memory(const ModelSpec&, const Plan&, EngineModel, const DeviceProfile&);

// Sets the forms that this program's backend for such a device gives a plan.
void choose_forms(Plan&, const DeviceProfile&);

struct Prediction {
  EngineModel engine = EngineModel::own;
  Scales scales{};
};
// With the provenance of this program and the device's name. `workload` as asked; eager-full makes
// its own of it.
Record predict_record(const ModelSpec&, const DeviceProfile&, Workload workload,
                      const Prediction& = {});

}  // namespace tidemark
