// What a long context costs: TTFT and TPOT of each model at a short and at a long context.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "report/figures/chart.h"
#include "report/figures/series.h"
#include "report/text.h"

namespace tidemark {
namespace {

struct Range {
  int64_t shortest = 0, longest = 0;
};

// model -> context -> record
using ByModel = std::map<std::string, std::map<int64_t, const Record*>>;

// The two contexts that the most models reached; of those the furthest apart.
Range shared_range(const ByModel& models) {
  std::map<std::pair<int64_t, int64_t>, int64_t> models_with;
  for (const auto& [model, by_context] : models)
    for (auto shorter = by_context.begin(); shorter != by_context.end(); ++shorter)
      for (auto longer = std::next(shorter); longer != by_context.end(); ++longer)
        ++models_with[{shorter->first, longer->first}];
  Range best;
  int64_t most = 0;
  const auto growth = [](int64_t shorter, int64_t longer) {
    return static_cast<double>(longer) / static_cast<double>(shorter);
  };
  for (const auto& [pair, count] : models_with) {
    const auto& [shorter, longer] = pair;
    const bool wider = most > 0 && growth(shorter, longer) > growth(best.shortest, best.longest);
    if (count > most || (count == most && wider)) {
      best = {shorter, longer};
      most = count;
    }
  }
  return best;
}

struct MetricOf {
  const char* name;
  std::optional<Summary> Metrics::*member;
};

}  // namespace

FigureContent short_long_figure(const Study& study) {
  const Configurations configurations(study);
  JsonValue rows = JsonValue::array();
  DataTable table{.columns = {"Metric", "Configuration", "Model", "Short context (tokens)",
                              "At short (s)", "Long context (tokens)", "At long (s)",
                              "Long / short", "Interval of the long (s)"}};
  table.bar = "Long / short";
  std::map<std::string, Range> ranges;  // by configuration
  bool left_out = false;
  for (const MetricOf metric : {MetricOf{"TTFT", &Metrics::ttft_s}, {"TPOT", &Metrics::tpot_s}}) {
    std::map<std::string, ByModel> found;  // by configuration
    for (const Record* r : newest_records(study)) {
      if (r->source != Source::measured || !(r->metrics.*metric.member)) continue;
      found[configurations.of(r->cell)][r->cell.model][r->cell.context] = r;
    }
    for (const auto& [configuration, models] : found) {
      const Range range = shared_range(models);
      if (range.longest == range.shortest) continue;
      ranges[configuration] = range;
      const std::string panel =
          configuration.empty() ? metric.name : metric.name + (", " + configuration);
      for (const auto& [name, by_context] : models) {
        const std::string& model = name;  // clang 14 captures no structured binding
        if (!by_context.contains(range.shortest) || !by_context.contains(range.longest)) {
          left_out = true;
          continue;
        }
        const Summary& at_short = *(by_context.at(range.shortest)->metrics.*metric.member);
        const Summary& at_long = *(by_context.at(range.longest)->metrics.*metric.member);
        const double growth = at_long.median / at_short.median;
        const auto add = [&](const char* length, int64_t context, const Summary& s,
                             const std::string& label) {
          rows.push_back({{"panel", panel},
                          {"model", model},
                          {"length", length},
                          {"context", context},
                          {"value", s.median},
                          {"text", time_text(s.median)},
                          {"interval", interval_text(s, time_text)},
                          {"label", label}});
        };
        add("short", range.shortest, at_short, "");
        add("long", range.longest, at_long, fmt::format("\u00d7{:.3g}", growth));
        table.rows.push_back({metric.name, configuration, model, range.shortest, at_short.median,
                              range.longest, at_long.median, growth,
                              interval_text(at_long, time_text)});
      }
    }
  }
  if (rows.empty()) return {.empty = "No model of any configuration was measured at two contexts."};

  JsonValue x = log_channel("value", extent(rows, {"value"}),
                            {"Time (logarithmic)", std::string(seconds_label), 46});
  scale_by_panel(x, rows, {"value"});
  JsonValue view = filled(
      R"json({
        "encoding": {
          "y": {
            "field": "model", "type": "nominal", "title": null, "sort": "@models",
            "axis": {"grid": true, "labelLimit": 200}
          }
        },
        "layer": [
          {
            "mark": {"type": "line", "strokeWidth": 2.5, "opacity": 0.45},
            "encoding": {
              "x": "@x", "detail": {"field": "model"},
              "color": {"field": "model", "type": "nominal", "scale": "@colours", "legend": null}
            }
          },
          {
            "mark": {"type": "point", "size": 95, "strokeWidth": 2},
            "encoding": {
              "x": "@x",
              "color": {"field": "model", "type": "nominal", "scale": "@colours", "legend": null},
              "fill": {
                "condition": {
                  "test": "datum.length == 'long'", "field": "model", "type": "nominal",
                  "scale": "@colours", "legend": null
                },
                "value": "#FFFFFF"
              },
              "tooltip": [
                {"field": "model", "title": "Model"},
                {"field": "context", "title": "Context", "format": ","},
                {"field": "text", "title": "Median"},
                {"field": "interval", "title": "Interval of the median"}
              ]
            }
          },
          {
            "mark": {"type": "text", "align": "left", "dx": 10, "fontSize": 11},
            "encoding": {"x": "@x", "text": {"field": "label"}}
          }
        ],
        "resolve": {"scale": {"x": "independent"}}
      })json",
      {{"models", model_names(study)}, {"colours", model_colours(study)}, {"x", x}});
  const std::vector<std::string> panels = values_of(rows, "panel");
  const int height = 26 * static_cast<int>(model_names(study).size()) + 10;
  FigureContent content{.table = std::move(table)};
  for (const auto& [configuration, range] : ranges)
    content.remarks += fmt::format(
        "{}{}{}open {} tokens, filled {}", content.remarks.empty() ? "" : "; ", configuration,
        configuration.empty() ? "" : ": ", tokens_text(static_cast<double>(range.shortest)),
        tokens_text(static_cast<double>(range.longest)));
  content.remarks[0] =
      static_cast<char>(std::toupper(static_cast<unsigned char>(content.remarks[0])));
  content.remarks += left_out ? "; models without a result at both are left out." : ".";
  content.spec = chart(std::move(rows), std::move(view), panels, {520, height}, {330, height}, 2);
  return content;
}

}  // namespace tidemark
