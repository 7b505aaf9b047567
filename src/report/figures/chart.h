// The parts that Vega-Lite specifications of all figures share: theme, colours, axes, panels.
#pragma once

#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "report/figures/figure.h"

namespace tidemark {

// A specification written as JSON in which every string "@name" stands for parts.at("name").
JsonValue filled(std::string_view text, const std::map<std::string, JsonValue>& parts);

// Of every specification: that which web/vendor draws.
inline constexpr std::string_view vega_lite_schema =
    "https://vega.github.io/schema/vega-lite/v6.json";

struct PanelSize {
  int width = 300, height = 220;
};

// Smallest and largest positive number among `fields` of the rows.
struct Extent {
  double low = 0, high = 0;
};
Extent extent(const JsonValue& rows, std::initializer_list<const char*> fields);

// At least 5 % to either side of its middle: Vega draws every tick of an extent of no width, and
// all of them in one place.
Extent widened(Extent);

// Where a logarithmic axis over an extent has its ticks: at powers of ten when it is wide, at 1, 2
// and 5 of each or closer when it is narrow, evenly when it is narrower yet. Two of them at least
// are within the widened extent.
std::vector<double> log_ticks(Extent);

// Powers of two around an extent, every second one where it is wide.
std::vector<double> power_of_two_ticks(Extent);

// A quantitative channel on a logarithmic scale; `padding` pixels beyond the extent.
struct LogAxis {
  std::string title{};
  std::string label{};  // Vega expression; "" for plain numbers
  int padding = 12;
};
JsonValue log_channel(const std::string& field, Extent, const LogAxis&);
// Domain and ticks of each panel by its own extent among `fields`, for a channel whose scale the
// panels do not share; where a panel has no number, those of all.
void scale_by_panel(JsonValue& channel, const JsonValue& rows,
                    std::initializer_list<const char*> fields);

// Takes the layer of that name out of a view: Vega has no scale for a layer without rows.
void drop_layer(JsonValue& view, std::string_view layer);
// Whether some row has the member, or has it with that value.
bool any_row(const JsonValue& rows, const std::string& field);
bool any_row(const JsonValue& rows, const std::string& field, const std::string& value);

// What `field` holds in the rows, in the order of their appearance.
std::vector<std::string> values_of(const JsonValue& rows, const std::string& field);

// Those of `order` that `field` takes in the rows: what a legend lists.
JsonValue present(const JsonValue& rows, const std::string& field, const JsonValue& order);

// Fewest columns of panels that are a grid of their own (a row per model, a column per
// configuration), and most.
inline constexpr size_t least_grid = 2, most_grid = 3;

// A complete specification of `view` (its "layer", "mark", "encoding", "params" ...) over `rows`:
// one chart, or one panel for each of `panels` by the field "panel" of the rows.
JsonValue chart(JsonValue rows, JsonValue view, const std::vector<std::string>& panels,
                PanelSize single, PanelSize panel, int columns = 3);

// The same for panels of one model and configuration each, in the fields "model" and
// "configuration" of the rows: a grid when every model has the same two or three configurations,
// else one after another.
JsonValue model_panels(JsonValue rows, JsonValue view, PanelSize single, PanelSize panel);

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
    "datum.value % 1073741824 == 0 ? datum.value / 1073741824 + 'G' : "
    "datum.value % 1048576 == 0 ? datum.value / 1048576 + 'M' : datum.value % 1024 == 0 ? "
    "datum.value / 1024 + 'K' : format(datum.value, ',')";

}  // namespace tidemark
