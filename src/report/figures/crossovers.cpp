// The context at which one model overtakes another.
#include <algorithm>

#include "report/figures/chart.h"
#include "report/figures/series.h"

namespace tidemark {

FigureContent crossovers_figure(const Study& study) {
  JsonValue rows = JsonValue::array();
  DataTable table{.columns = {"A", "B", "Metric", "Configuration", "B overtakes A at (tokens)",
                              "From (tokens)", "To (tokens)", "Note"}};
  std::vector<std::string> pairs;
  for (const ModelCrossover& c : study.crossovers) {
    const std::string pair = c.b + " overtakes " + c.a;
    if (c.points.empty())
      table.rows.push_back(
          {c.a, c.b, c.metric, c.configuration, nullptr, nullptr, nullptr, c.note});
    for (const CrossoverPoint& point : c.points) {
      table.rows.push_back(
          {c.a, c.b, c.metric, c.configuration, point.context, point.low, point.high, c.note});
      if (std::find(pairs.begin(), pairs.end(), pair) == pairs.end()) pairs.push_back(pair);
      rows.push_back({{"panel", c.configuration},
                      {"pair", pair},
                      {"metric", c.metric},
                      {"context", point.context},
                      {"low", point.low},
                      {"high", point.high},
                      {"text", tokens_text(point.context) + " tokens"},
                      {"interval", tokens_text(point.low) + " \u2013 " + tokens_text(point.high)},
                      {"note", c.note}});
    }
  }
  if (study.crossovers.empty())
    return {.empty = "No two models share enough contexts to look for a crossover."};
  FigureContent content{.table = std::move(table)};
  if (rows.empty()) {
    content.empty = "No model overtakes another within the contexts measured; see the table.";
    return content;
  }
  JsonValue view =
      filled(R"json({
        "encoding": {
          "y": {
            "field": "pair", "type": "nominal", "title": null, "sort": "@pairs",
            "axis": {"labelLimit": 320, "grid": true}
          },
          "yOffset": {"field": "metric", "type": "nominal", "scale": {"domain": "@metrics"}},
          "color": {
            "field": "metric", "type": "nominal", "title": "Metric",
            "scale": {
              "domain": ["ttft", "tpot", "memory", "energy"],
              "range": ["#0072B2", "#D55E00", "#009E73", "#CC79A7"]
            },
            "legend": {"values": "@metrics"}
          }
        },
        "layer": [
          {
            "mark": {"type": "rule", "strokeWidth": 4, "opacity": 0.45, "strokeCap": "round"},
            "encoding": {
              "x": {
                "field": "low", "type": "quantitative",
                "scale": {"type": "log", "base": 2, "nice": false, "padding": 24}
              },
              "x2": {"field": "high"}
            }
          },
          {
            "mark": {"type": "point", "filled": true, "size": 80},
            "encoding": {
              "x": {
                "field": "context", "type": "quantitative",
                "scale": {"type": "log", "base": 2, "nice": false, "padding": 24},
                "axis": {
                  "title": "Context (tokens, logarithmic)", "labelOverlap": true,
                  "labelExpr": "@tokens", "values": "@ticks", "labelFlush": false
                }
              },
              "shape": {
                "field": "metric", "type": "nominal", "title": "Metric",
                "scale": {"domain": ["ttft", "tpot", "memory", "energy"]},
                "legend": {"values": "@metrics"}
              },
              "tooltip": [
                {"field": "pair", "title": "Pair"},
                {"field": "metric", "title": "Metric"},
                {"field": "text", "title": "Crossover"},
                {"field": "interval", "title": "Intervals overlap within"},
                {"field": "note", "title": "Note"}
              ]
            }
          }
        ]
      })json",
             {{"ticks", power_of_two_ticks(extent(rows, {"low", "high"}))},
              {"metrics", present(rows, "metric", {"ttft", "tpot", "memory", "energy"})},
              {"pairs", pairs},
              {"tokens", context_label}});
  const std::vector<std::string> panels = values_of(rows, "panel");
  const int height = 52 * static_cast<int>(pairs.size()) + 10;
  content.spec = chart(std::move(rows), std::move(view), panels, {460, height}, {320, height}, 2);
  return content;
}

}  // namespace tidemark
