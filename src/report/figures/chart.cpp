#include "report/figures/chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "report/figures/series.h"
#include "report/grouping.h"

namespace tidemark {
namespace {

// Okabe and Ito (2008), without black and yellow, which vanish on dark and on light; grey instead.
// The page's theme.js maps the two darkest for its dark theme.
constexpr std::array model_palette = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                      "#E69F00", "#56B4E9", "#4D4D4D"};
// One fewer than colours, so that the pair repeats only after 42 models.
constexpr std::array shape_palette = {"circle",  "square",        "triangle-up",
                                      "diamond", "triangle-down", "cross"};

// What a paper prints; the page overrides text and line colours for its dark theme.
const JsonValue& config() {
  static const JsonValue value = JsonValue::parse(R"json({
    "font": "Helvetica Neue, Helvetica, Arial, DejaVu Sans, sans-serif", "background": "#FFFFFF",
    "view": {"stroke": "#C8C8C8", "strokeWidth": 1},
    "axis": {
      "labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal",
      "gridColor": "#E8E8E8", "domainColor": "#8A8A8A", "tickColor": "#8A8A8A",
      "labelColor": "#3A3A3A", "titleColor": "#1E1E1E", "titlePadding": 8
    },
    "header": {
      "labelFontSize": 12, "labelFontWeight": "bold", "labelColor": "#1E1E1E",
      "titleColor": "#1E1E1E", "labelLimit": 420
    },
    "legend": {
      "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "labelLimit": 260,
      "labelColor": "#3A3A3A", "titleColor": "#1E1E1E", "symbolSize": 70, "symbolOpacity": 1,
      "symbolBaseFillColor": "#4D4D4D", "symbolBaseStrokeColor": "#4D4D4D"
    },
    "text": {"color": "#1E1E1E"}, "rule": {"color": "#1E1E1E"}, "tick": {"color": "#1E1E1E"},
    "line": {"strokeWidth": 2}, "point": {"size": 55, "opacity": 1}, "facet": {"spacing": 24},
    "concat": {"spacing": 24}
  })json");
  return value;
}

JsonValue domain_and_range(const std::vector<std::string>& names, const auto& palette) {
  JsonValue range = JsonValue::array();
  for (size_t i = 0; i < names.size(); ++i) range.push_back(palette[i % palette.size()]);
  return {{"domain", names}, {"range", range}};
}

void fill(JsonValue& value, const std::map<std::string, JsonValue>& parts) {
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (text.starts_with("@")) value = JsonValue(parts.at(text.substr(1)));
  } else if (value.is_structured()) {
    for (JsonValue& element : value) fill(element, parts);
  }
}

JsonValue domain_of(Extent range) {
  const Extent wide = widened(range);
  return {wide.low, wide.high};
}

// Exact where the power is not negative; dividing keeps 0.2 the nearest to 0.2.
double times_power_of_ten(double digits, int power) {
  return power >= 0 ? digits * std::pow(10, power) : digits / std::pow(10, -power);
}

// Four to ten steps of 1, 2 or 5 to an extent, and two beyond for what an axis adds to its ends.
std::vector<double> even_ticks(Extent range) {
  const double most = (range.high - range.low) / 4;
  const auto power = static_cast<int>(std::floor(std::log10(most)));
  double digit = 1;
  for (const double larger : {2, 5})
    if (times_power_of_ten(larger, power) <= most) digit = larger;
  const double step = times_power_of_ten(digit, power);
  std::vector<double> values;
  for (double n = std::floor(range.low / step) - 2; n <= std::ceil(range.high / step) + 2; ++n)
    if (n > 0) values.push_back(times_power_of_ten(n * digit, power));
  return values;
}

}  // namespace

JsonValue filled(std::string_view text, const std::map<std::string, JsonValue>& parts) {
  JsonValue value = JsonValue::parse(text);
  fill(value, parts);
  return value;
}

JsonValue chart(JsonValue rows, JsonValue view, const std::vector<std::string>& panels,
                PanelSize single, PanelSize panel, int columns) {
  JsonValue spec = {
      {"$schema", vega_lite_schema}, {"config", config()}, {"data", {{"values", std::move(rows)}}}};
  if (panels.size() <= 1) {
    spec["width"] = single.width;
    spec["height"] = single.height;
    spec.update(view);
    return spec;
  }
  // Resolution belongs to the whole, the rest to each panel.
  if (view.contains("resolve")) {
    spec["resolve"] = view["resolve"];
    view.erase("resolve");
  }
  spec["facet"] = {{"field", "panel"}, {"type", "nominal"}, {"title", nullptr}, {"sort", panels}};
  spec["facet"]["header"] = {{"labelExpr", "split(datum.label, '\\n')"}};
  spec["columns"] = columns;
  // Each panel has its own axis, since the last row may have fewer than the others.
  spec["resolve"]["axis"] = {{"x", "independent"}};
  view["width"] = panel.width;
  view["height"] = panel.height;
  spec["spec"] = std::move(view);
  return spec;
}

JsonValue model_panels(JsonValue rows, JsonValue view, PanelSize single, PanelSize panel) {
  const std::vector<std::string> models = values_of(rows, "model");
  const std::vector<std::string> configurations = values_of(rows, "configuration");
  std::set<std::pair<std::string, std::string>> filled_panels;
  for (const JsonValue& row : rows)
    filled_panels.emplace(row["model"].get<std::string>(), row["configuration"].get<std::string>());
  // Vega puts the empty panels of a grid first, under the wrong headers.
  const bool complete = filled_panels.size() == models.size() * configurations.size();
  if (complete && models.size() > 1 && configurations.size() >= least_grid &&
      configurations.size() <= most_grid) {
    // As wide together as three columns.
    if (configurations.size() == least_grid) panel.width = panel.width * 4 / 3;
    JsonValue spec = chart(std::move(rows), std::move(view), {"", ""}, single, panel);
    spec.erase("columns");
    spec["resolve"].erase("axis");
    spec["facet"] = {
        {"row", {{"field", "model"}, {"type", "nominal"}, {"title", nullptr}, {"sort", models}}},
        {"column",
         {{"field", "configuration"},
          {"type", "nominal"},
          {"title", nullptr},
          {"sort", configurations}}}};
    return spec;
  }
  for (JsonValue& row : rows) {
    const auto configuration = row["configuration"].get<std::string>();
    row["panel"] = row["model"].get<std::string>();
    if (!configuration.empty())
      row["panel"] = row["panel"].get<std::string>() + "\n" + configuration;
  }
  const std::vector<std::string> panels = values_of(rows, "panel");
  return chart(std::move(rows), std::move(view), panels, single, panel, 3);
}

void drop_layer(JsonValue& view, std::string_view layer) {
  auto& layers = view["layer"].get_ref<JsonValue::array_t&>();
  std::erase_if(layers, [&](const JsonValue& l) { return l.value("name", "") == layer; });
}

bool any_row(const JsonValue& rows, const std::string& field) {
  return std::ranges::any_of(rows, [&](const JsonValue& row) { return row.contains(field); });
}

bool any_row(const JsonValue& rows, const std::string& field, const std::string& value) {
  return std::ranges::any_of(rows,
                             [&](const JsonValue& row) { return row.value(field, "") == value; });
}

std::vector<std::string> values_of(const JsonValue& rows, const std::string& field) {
  std::vector<std::string> values;
  for (const JsonValue& row : rows) {
    if (!row.contains(field)) continue;
    auto value = row[field].get<std::string>();
    if (std::ranges::find(values, value) == values.end()) values.push_back(std::move(value));
  }
  return values;
}

JsonValue present(const JsonValue& rows, const std::string& field, const JsonValue& order) {
  const std::vector<std::string> values = values_of(rows, field);
  JsonValue kept = JsonValue::array();
  for (const JsonValue& value : order)
    if (std::ranges::find(values, value.get<std::string>()) != values.end()) kept.push_back(value);
  return kept;
}

Extent extent(const JsonValue& rows, std::initializer_list<const char*> fields) {
  Extent found;
  for (const JsonValue& row : rows)
    for (const char* field : fields) {
      if (!row.contains(field)) continue;
      const double value = row[field].get<double>();
      if (value <= 0) continue;
      found.low = found.low == 0 ? value : std::min(found.low, value);
      found.high = std::max(found.high, value);
    }
  return found;
}

Extent widened(Extent range) {
  const double middle = std::sqrt(range.low * range.high);
  return {std::min(range.low, middle / 1.05), std::max(range.high, middle * 1.05)};
}

std::vector<double> log_ticks(Extent range) {
  if (range.low <= 0) return {};
  const double width = range.high / range.low;
  if (width < 2) return even_ticks(widened(range));
  std::vector<double> digits = {1};
  if (width <= 300) digits = {1, 2, 5};
  if (width <= 6) digits = {1, 1.5, 2, 3, 4, 5, 6, 8};
  const auto first = static_cast<int>(std::floor(std::log10(range.low)));
  const auto last = static_cast<int>(std::ceil(std::log10(range.high)));
  std::vector<double> values;
  for (int power = first; power <= last; ++power)
    for (double digit : digits) values.push_back(times_power_of_ten(digit, power));
  return values;
}

std::vector<double> power_of_two_ticks(Extent range) {
  std::vector<double> values;
  if (range.low <= 0) return values;
  const double last = std::exp2(std::ceil(std::log2(range.high)));
  const double step = range.high / range.low > 1 << 16 ? 4 : 2;
  for (double value = std::exp2(std::floor(std::log2(range.low))); value <= last; value *= step)
    values.push_back(value);
  return values;
}

JsonValue log_channel(const std::string& field, Extent range, const LogAxis& axis) {
  JsonValue described = {{"title", axis.title},
                         {"values", log_ticks(range)},
                         {"labelOverlap", "greedy"},
                         {"labelSeparation", 6}};
  described["labelExpr"] = axis.label.empty() ? "format(datum.value, ',~r')" : axis.label;
  JsonValue scale = {{"type", "log"}, {"nice", false}, {"padding", axis.padding}};
  if (range.low > 0) scale["domain"] = domain_of(range);
  return {{"field", field}, {"type", "quantitative"}, {"scale", scale}, {"axis", described}};
}

void scale_by_panel(JsonValue& channel, const JsonValue& rows,
                    std::initializer_list<const char*> fields) {
  const Extent whole = extent(rows, fields);
  if (whole.low <= 0) return;
  std::map<std::string, JsonValue> rows_of;
  for (const JsonValue& row : rows) rows_of[row.at("panel")].push_back(row);
  if (rows_of.size() < 2) return;  // what the channel has is that of the only one
  JsonValue domains, ticks;
  for (const auto& [panel, its_rows] : rows_of) {
    const Extent own = extent(its_rows, fields);
    const Extent range = own.low > 0 ? own : whole;
    domains[panel] = domain_of(range);
    ticks[panel] = log_ticks(range);
  }
  // Vega-Lite has one scale and one axis for all panels; Vega evaluates these in each.
  channel["scale"]["domain"] = {{"expr", domains.dump() + "[parent.panel]"}};
  channel["axis"]["values"] = {{"expr", ticks.dump() + "[parent.panel]"}};
}

JsonValue model_colours(const Study& study) {
  return domain_and_range(model_names(study), model_palette);
}

JsonValue model_shapes(const Study& study) {
  return domain_and_range(model_names(study), shape_palette);
}

std::vector<std::string> tag_order() {
  std::vector<std::string> names;
  for (Tag tag : all_tags) names.emplace_back(name(tag));
  names.emplace_back("driver");
  return names;
}

JsonValue tag_colours() {
  constexpr std::array colours = {"#0072B2", "#E69F00", "#D55E00", "#009E73",
                                  "#56B4E9", "#CC79A7", "#F0E442", "#999999"};
  return domain_and_range(tag_order(), colours);
}

JsonValue group_colours() {
  std::vector<std::string> names;
  for (Group g : all_groups) names.emplace_back(name(g));
  names.emplace_back("gap");
  return {
      {"domain", names},
      {"range",
       {"#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#4D4D4D", "#BDBDBD"}}};
}

JsonValue context_axis(const std::string& title) {
  return {{"title", title},
          {"labelExpr", context_label},
          {"labelOverlap", true},
          {"labelFlush", false},
          {"grid", true}};
}

JsonValue context_channel(const JsonValue& rows) {
  std::set<int64_t> contexts;
  for (const JsonValue& row : rows) contexts.insert(row.at("context").get<int64_t>());
  JsonValue axis = context_axis();
  axis["values"] = contexts;
  return {{"field", "context"},
          {"type", "quantitative"},
          {"scale", {{"type", "log"}, {"base", 2}, {"nice", false}, {"padding", 10}}},
          {"axis", axis}};
}

}  // namespace tidemark
