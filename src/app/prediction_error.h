// Predictions beside what was measured, cell by cell.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "device/profile.h"
#include "record/record.h"

namespace tidemark {

struct ErrorRow {
  std::string quantity;  // "memory", "TTFT", ...
  std::string device, model;
  int64_t context = 0;
  std::string cell;                     // what else distinguishes it: "chunk 512", "generate 256"
  double measured = 0, predicted = 0;   // s, J or MiB
  std::optional<double> low{}, high{};  // interval of the prediction
  double error() const { return predicted / measured - 1; }
};

struct ErrorTable {
  std::vector<ErrorRow> rows;
  std::vector<std::string> skipped;  // one line each: what could not be predicted
};

// A CSV of tests/data/published, known by its header: memory.csv, latency.csv, energy.csv or the
// whole passes of operators.csv. Predicted with datasheet profiles and eager-full.
ErrorTable against_published(const std::filesystem::path& csv);

// Measured records with the profile of the device they were measured on.
ErrorTable against_records(const std::vector<Record>& measured, const DeviceProfile&);

struct ErrorSummary {
  std::string quantity;
  size_t cells = 0;
  double median = 0, worst = 0;   // of |error|
  size_t inside = 0;              // of the interval
  size_t pairs = 0, ordered = 0;  // of two models at one context on one device: in the right order
};
// By quantity, of cells with at least `min_context` tokens. Pairs that differ by less than
// `tie` are no order to get right.
std::vector<ErrorSummary> summarize(const ErrorTable&, int64_t min_context, double tie = 0.02);

// docs/prediction-error.md: summaries, pairs in the wrong order, every cell.
std::string error_markdown(const ErrorTable&);

}  // namespace tidemark
