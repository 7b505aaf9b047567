// One measurement, from an opened model to its Record: what `run` and every cell of a sweep do.
#pragma once

#include <functional>
#include <string>

#include "app/session.h"
#include "measure/harness.h"
#include "record/record.h"

namespace tidemark {

struct MeasureRequest {
  Cell cell{};              // what to measure; family and threads are filled in from what ran
  uint64_t seed = 0;        // of the prompt
  std::string tokens_file;  // prompt ids instead of random ones
  MeasureOptions options{};
  bool energy = false;  // too, where the machine has a sensor for the device
  // Hears of the record as soon as its cell, memory plan and provenance are known, before anything
  // is allocated: what is to be kept should the process die.
  std::function<void(const Record&)> started{};
};

// Lack of memory and of kernels are outcomes of the record; Error is left for a request that makes
// no sense.
Record measure_model(const Model& model, const MeasureRequest& request);

}  // namespace tidemark
