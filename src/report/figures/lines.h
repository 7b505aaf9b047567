// A metric against context: one line per model, its interval as a bar, a panel per configuration.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "report/figures/chart.h"
#include "report/figures/figure.h"

namespace tidemark {

struct LineMetric {
  std::string title{};    // of the axis: "TTFT"
  std::string unit{};     // of the table: "s"
  std::string missing{};  // "no record has a TTFT"
  std::function<std::optional<Summary>(const Record&)> of{};
  std::function<std::string(double)> text{};
  bool of_decode = false;  // cells of one new token have none
  bool own_axes = false;   // every panel has its own scale
  std::string label{};     // Vega expression of an axis label; "" for plain numbers
};

// One row per value drawn: panel, model, source, context, value, and texts for the tooltip; and one
// per cell that has none because it did not end well, with its "outcome".
JsonValue line_rows(const Study&, const LineMetric&);
DataTable line_table(const Study&, const LineMetric&);
// The layers over such rows.
JsonValue line_view(const Study&, const LineMetric&, const JsonValue& rows);
FigureContent line_figure(const Study&, const LineMetric&);

}  // namespace tidemark
