#include "report/figures/chart.h"

#include <array>
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
    "font": "Helvetica Neue, Helvetica, Arial, DejaVu Sans, sans-serif",
    "background": "#FFFFFF",
    "view": {"stroke": "#C8C8C8", "strokeWidth": 1},
    "axis": {
      "labelFontSize": 11,
      "titleFontSize": 12,
      "titleFontWeight": "normal",
      "gridColor": "#E8E8E8",
      "domainColor": "#8A8A8A",
      "tickColor": "#8A8A8A",
      "labelColor": "#3A3A3A",
      "titleColor": "#1E1E1E",
      "titlePadding": 8
    },
    "header": {
      "labelFontSize": 12,
      "labelFontWeight": "bold",
      "labelColor": "#1E1E1E",
      "titleColor": "#1E1E1E",
      "labelLimit": 420
    },
    "legend": {
      "labelFontSize": 11,
      "titleFontSize": 11,
      "titleFontWeight": "normal",
      "labelLimit": 260,
      "labelColor": "#3A3A3A",
      "titleColor": "#1E1E1E",
      "symbolSize": 70
    },
    "text": {"color": "#1E1E1E"},
    "rule": {"color": "#1E1E1E"},
    "tick": {"color": "#1E1E1E"},
    "line": {"strokeWidth": 2},
    "point": {"size": 55, "opacity": 1},
    "facet": {"spacing": 24},
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

}  // namespace

JsonValue filled(std::string_view text, const std::map<std::string, JsonValue>& parts) {
  JsonValue value = JsonValue::parse(text);
  fill(value, parts);
  return value;
}

JsonValue chart(JsonValue rows, JsonValue view, const std::vector<std::string>& panels,
                PanelSize single, PanelSize panel, int columns) {
  JsonValue spec = {{"$schema", "https://vega.github.io/schema/vega-lite/v6.json"},
                    {"config", config()},
                    {"data", {{"values", std::move(rows)}}}};
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
  spec["columns"] = columns;
  view["width"] = panel.width;
  view["height"] = panel.height;
  spec["spec"] = std::move(view);
  return spec;
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
  return {{"title", title}, {"labelExpr", context_label}, {"labelOverlap", true}, {"grid", true}};
}

JsonValue context_channel(const JsonValue& rows) {
  std::set<int64_t> contexts;
  for (const JsonValue& row : rows) contexts.insert(row.at("context").get<int64_t>());
  JsonValue axis = context_axis();
  axis["values"] = contexts;
  return {{"field", "context"},
          {"type", "quantitative"},
          {"scale", {{"type", "log"}, {"base", 2}, {"nice", false}}},
          {"axis", axis}};
}

}  // namespace tidemark
