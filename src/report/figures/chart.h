// The parts that Vega-Lite specifications of all figures share: theme, colours, axes, panels.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "report/figures/figure.h"

namespace tidemark {

// A specification written as JSON in which every string "@name" stands for parts.at("name").
JsonValue filled(std::string_view text, const std::map<std::string, JsonValue>& parts);

struct PanelSize {
  int width = 300, height = 220;
};

// A complete specification of `view` (its "layer", "mark", "encoding", "params" ...) over `rows`:
// one chart, or one panel for each of `panels` by the field "panel" of the rows.
JsonValue chart(JsonValue rows, JsonValue view, const std::vector<std::string>& panels,
                PanelSize single, PanelSize panel, int columns = 3);

// {"domain": [...], "range": [...]}: the same colour for a model, a tag and a group everywhere.
// Colours are Okabe and Ito's, which stay apart for colour-blind readers.
JsonValue model_colours(const Study&);
JsonValue model_shapes(const Study&);
JsonValue tag_colours();    // and "driver"
JsonValue group_colours();  // and "gap"
std::vector<std::string> tag_order();

// Contexts on a logarithmic axis, labelled "8K".
JsonValue context_axis(const std::string& title = "Context (tokens)");
JsonValue context_channel(const JsonValue& rows);  // rows have "context"
// Labels "10 ms", "1 s" on an axis in seconds.
inline constexpr std::string_view seconds_label =
    "datum.value >= 1 ? format(datum.value, ',~r') + ' s' : datum.value >= 0.001 ? "
    "format(datum.value * 1e3, '~r') + ' ms' : format(datum.value * 1e6, '~r') + ' \u00b5s'";
inline constexpr std::string_view context_label =
    "datum.value % 1048576 == 0 ? datum.value / 1048576 + 'M' : datum.value % 1024 == 0 ? "
    "datum.value / 1024 + 'K' : format(datum.value, ',')";

}  // namespace tidemark
