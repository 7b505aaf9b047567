// The longest context under a memory budget, by logits policy and chunking.
#include <set>

#include "base/units.h"
#include "report/figures/chart.h"
#include "report/figures/series.h"
#include "report/text.h"

namespace tidemark {
namespace {

std::string limit_panel(const ContextLimit& l) {
  std::string panel = format_bytes(l.budget_bytes) + ", " + std::string(name(l.dtype));
  if (!l.device.empty()) panel += ", " + l.device;
  return panel;
}

}  // namespace

FigureContent limits_figure(const Study& study) {
  JsonValue rows = JsonValue::array();
  DataTable table{.columns = {"Model", "Device", "Dtype", "Budget (GiB)", "Chunk", "Logits",
                              "Longest context (tokens)", "Next to break it"}};
  table.bar = "Longest context (tokens)";
  for (const ContextLimit& l : study.limits) {
    const auto context = static_cast<double>(l.context);
    if (l.context > 0)
      rows.push_back({{"panel", limit_panel(l)},
                      {"model", l.model},
                      {"policy", policy_text(l.chunk, l.logits)},
                      {"context", l.context},
                      {"text", tokens_text(context)},
                      {"tag", name(l.broken_by)}});
    table.rows.push_back({l.model, l.device, name(l.dtype),
                          static_cast<double>(l.budget_bytes) / (1 << 30),
                          l.chunk == 0 ? JsonValue("whole") : JsonValue(l.chunk), name(l.logits),
                          l.context, name(l.broken_by)});
  }
  if (rows.empty()) return {.empty = "No context limits in this study; tidemark limit finds them."};

  std::set<std::string> policies;
  for (const JsonValue& row : rows) policies.insert(row["policy"]);
  JsonValue view = filled(R"json({
    "encoding": {
      "y": {
        "field": "model", "type": "nominal", "title": null, "sort": "@models",
        "axis": {"grid": true, "labelLimit": 200}
      },
      "x": {
        "field": "context", "type": "quantitative",
        "scale": {"type": "log", "base": 2, "nice": false, "padding": 20},
        "axis": {
          "title": "Longest context that fits (tokens, logarithmic)", "values": "@ticks",
          "labelExpr": "@tokens", "labelOverlap": "greedy", "labelFlush": false
        }
      }
    },
    "layer": [
      {
        "mark": {"type": "line", "color": "#999999", "strokeWidth": 2.5},
        "encoding": {"detail": {"field": "model"}}
      },
      {
        "mark": {"type": "point", "filled": true, "size": 110},
        "encoding": {
          "color": {
            "field": "policy", "type": "nominal", "title": "Chunk and logits",
            "scale": {
              "domain": "@policies",
              "range": [
                "#0072B2",
                "#56B4E9",
                "#D55E00",
                "#E69F00",
                "#009E73",
                "#CC79A7",
                "#999999"
              ]
            }
          },
          "shape": {
            "field": "policy", "type": "nominal", "title": "Chunk and logits",
            "scale": {"domain": "@policies"}
          },
          "tooltip": [
            {"field": "model", "title": "Model"},
            {"field": "policy", "title": "Policy"},
            {"field": "context", "title": "Longest context", "format": ","},
            {"field": "tag", "title": "Next to break the budget"}
          ]
        }
      }
    ]
  })json",
                          {{"models", model_names(study)},
                           {"policies", policies},
                           {"ticks", power_of_two_ticks(extent(rows, {"context"}))},
                           {"tokens", context_label}});
  const std::vector<std::string> panels = values_of(rows, "panel");
  const int height = 28 * static_cast<int>(model_names(study).size()) + 10;
  return {.spec = chart(std::move(rows), std::move(view), panels, {560, height}, {340, height}, 2),
          .table = std::move(table)};
}

}  // namespace tidemark
