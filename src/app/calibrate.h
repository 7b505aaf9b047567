// Microbenchmarks through the backend: small models made for it run chunk by chunk and token by
// token with every operator timed, so that what is calibrated is what predictions are made of.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cost/fit.h"
#include "model/spec.h"
#include "record/record.h"

namespace tidemark {

struct CalibrationOptions {
  std::string device = "cpu";
  int threads = 0;
  double budget_s = 4;  // per model, context and chunk
  std::function<void(const std::string&)> progress{};
};

// What the calibration measures on a device, to be kept or fitted; and the model and cells of it.
std::vector<Record> measure_grid(const CalibrationOptions&);
struct GridCell {
  ModelSpec spec;
  Cell cell;
};
std::vector<GridCell> calibration_grid(const std::string& device, int threads);

struct Calibration {
  DeviceProfile profile;
  // Whole passes of the calibration's own cells, predicted over measured.
  std::vector<double> prefill_ratios, decode_ratios;
  size_t samples = 0;
};

// Fits a profile to the records of measure_grid; all are of one device.
Calibration fit_records(const std::vector<Record>&);

}  // namespace tidemark
