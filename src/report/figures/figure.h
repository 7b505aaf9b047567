// A figure: a Vega-Lite specification and the table of the same numbers, made by a pure function of
// a Study. This header lists them all.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "report/study.h"

namespace tidemark {

using JsonValue = nlohmann::ordered_json;

// Rows of text and numbers. A title carries its unit ("TTFT (s)"); a missing value is null.
struct DataTable {
  std::vector<std::string> columns{};
  std::vector<std::vector<JsonValue>> rows{};
  // On a terminal: the column drawn as a bar, and the columns there is room for (none: all).
  std::string bar{};
  std::vector<std::string> brief{};
};

struct FigureContent {
  JsonValue spec{};       // null when there is nothing to draw
  DataTable table{};      // of everything drawn, exactly
  std::string empty{};    // why there is nothing to draw, in one line
  std::string remarks{};  // what the drawing leaves out or assumes in this study
};

struct Figure {
  std::string_view id;     // "memory": the name on the command line
  std::string_view title;  // "Memory by purpose"
  std::string_view how;    // how to read it, for someone who has not seen one
  FigureContent (*make)(const Study&);
};

FigureContent ttft_figure(const Study&);
FigureContent tpot_figure(const Study&);
FigureContent short_long_figure(const Study&);
FigureContent throughput_figure(const Study&);
FigureContent memory_figure(const Study&);
FigureContent limits_figure(const Study&);
FigureContent timeline_figure(const Study&);
FigureContent energy_figure(const Study&);
FigureContent prefill_operators_figure(const Study&);
FigureContent decode_operators_figure(const Study&);
FigureContent devices_figure(const Study&);
FigureContent roofline_figure(const Study&);
FigureContent crossovers_figure(const Study&);
FigureContent prediction_figure(const Study&);
FigureContent accuracy_figure(const Study&);

// In the order a report shows them.
std::span<const Figure> all_figures();
// Throws Error listing the names when there is none of that name.
const Figure& figure_named(std::string_view id);

}  // namespace tidemark
