#include "report/figures/lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "report/figures/chart.h"
#include "report/figures/series.h"
#include "report/text.h"

namespace tidemark {
namespace {

std::string joined_flags(const Record& record) {
  return record.flags.empty() ? "none" : fmt::format("{}", fmt::join(record.flags, ", "));
}

// A prediction has one without a coverage; a value that stands for one reading has none.
bool has_interval(const Summary& s) {
  return (s.ci_coverage > 0 || s.n == 0) && s.ci_low > 0 && s.ci_high >= s.ci_low;
}

// Whatever became of it: that it failed is no result of its decode.
bool has_no_decode(const Record& record, const LineMetric& metric) {
  return metric.of_decode && record.cell.new_tokens <= 1;
}

}  // namespace

JsonValue line_rows(const Study& study, const LineMetric& metric) {
  const Configurations configurations(study);
  JsonValue rows = JsonValue::array();
  for (const Record* r : newest_records(study)) {
    if (has_no_decode(*r, metric)) continue;
    JsonValue row = {{"panel", configurations.of(r->cell)},
                     {"model", r->cell.model},
                     {"source", name(r->source)},
                     {"context", r->cell.context},
                     {"outcome", name(r->outcome)}};
    const std::optional<Summary> summary = metric.of(*r);
    if (summary && summary->median > 0) {
      row["value"] = summary->median;
      row["text"] = metric.text(summary->median);
      row["interval"] = row["spread"] = "not known";
      if (has_interval(*summary)) {
        row["low"] = summary->ci_low;
        row["high"] = summary->ci_high;
        row["interval"] = interval_text(*summary, metric.text);
        if (summary->n > 0)
          row["spread"] = metric.text(summary->p5) + " \u2013 " + metric.text(summary->p95);
      }
      row["runs"] = summary->n;
      row["flags"] = joined_flags(*r);
    } else if (r->outcome != Outcome::ok) {
      row["reason"] = r->reason;
    } else {
      continue;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

DataTable line_table(const Study& study, const LineMetric& metric) {
  const Configurations configurations(study);
  const std::string unit = metric.unit;
  DataTable table{.columns = {"Model", "Configuration", "Source", "Context (tokens)",
                              fmt::format("{} ({})", metric.title, unit),
                              fmt::format("Interval low ({})", unit),
                              fmt::format("Interval high ({})", unit), "Coverage (%)",
                              fmt::format("5th percentile ({})", unit),
                              fmt::format("95th percentile ({})", unit), "Runs", "Outcome"}};
  table.bar = table.columns[4];
  table.brief = {"Model",          "Configuration",  "Source",         "Context (tokens)",
                 table.columns[4], table.columns[5], table.columns[6], "Outcome"};
  for (const Record* r : newest_records(study)) {
    const std::optional<Summary> s = metric.of(*r);
    if (has_no_decode(*r, metric)) continue;
    if (!s && r->outcome == Outcome::ok) continue;
    std::vector<JsonValue> row = {r->cell.model, configurations.of(r->cell), name(r->source),
                                  r->cell.context};
    if (s && has_interval(*s) && s->n == 0)
      row.insert(row.end(), {s->median, s->ci_low, s->ci_high, nullptr, nullptr, nullptr, s->n});
    else if (s && has_interval(*s))
      row.insert(row.end(),
                 {s->median, s->ci_low, s->ci_high, 100 * s->ci_coverage, s->p5, s->p95, s->n});
    else if (s)
      row.insert(row.end(), {s->median, nullptr, nullptr, nullptr, nullptr, nullptr, s->n});
    else
      row.insert(row.end(), 7, nullptr);
    row.push_back(name(r->outcome));
    table.rows.push_back(std::move(row));
  }
  return table;
}

JsonValue line_view(const Study& study, const LineMetric& metric, const JsonValue& rows) {
  std::set<std::string> sources;
  for (const JsonValue& row : rows)
    if (row.contains("value")) sources.insert(row["source"]);
  std::set<std::string> failing;
  for (const JsonValue& row : rows)
    if (!row.contains("value")) failing.insert(row["model"]);
  // Above the lines there is room for the crosses of what failed.
  const auto crosses = static_cast<double>(failing.size());
  const Extent range = extent(rows, {"value", "low", "high"});
  LogAxis axis{metric.title, metric.label};
  if (metric.own_axes) axis.padding = 12 + 13 * static_cast<int>(crosses);
  JsonValue y = log_channel("value", range, axis);
  if (metric.own_axes) {
    scale_by_panel(y, rows, {"value", "low", "high"});
  } else if (range.low > 0) {
    const double decades = std::log10(range.high / range.low);
    // Or the bars' scale, which is merged with this one, would round it to whole decades.
    y["scale"] = {{"type", "log"},
                  {"nice", false},
                  {"domain",
                   {range.low * std::pow(10, -0.05 * decades - 0.05),
                    range.high * std::pow(10, (0.05 + 0.06 * crosses) * decades + 0.05)}}};
  }
  JsonValue view =
      filled(R"json({
        "encoding": {
          "x": "@context",
          "color": {
            "field": "model", "type": "nominal", "scale": "@colours", "title": "Model",
            "legend": {"values": "@present_models"}
          },
          "opacity": {"condition": {"param": "pick", "value": 1}, "value": 0.12}
        },
        "layer": [
          {
            "transform": [{"filter": "isValid(datum.value)"}], "mark": {"type": "line"},
            "encoding": {
              "y": "@y",
              "strokeDash": {
                "field": "source", "type": "nominal", "title": "Source",
                "legend": "@source_legend",
                "scale": {"domain": ["measured", "predicted"], "range": [[1, 0], [5, 4]]}
              }
            }
          },
          {
            "name": "intervals",
            "transform": [
              {"filter": "isValid(datum.value)"},
              {"calculate": "isValid(datum.low) ? datum.low : datum.value", "as": "low"},
              {"calculate": "isValid(datum.high) ? datum.high : datum.value", "as": "high"}
            ],
            "mark": {"type": "errorbar", "ticks": {"size": 7}},
            "encoding": {
              "y": {"field": "low", "type": "quantitative", "title": "@title"},
              "y2": {"field": "high"}
            }
          },
          {
            "transform": [{"filter": "isValid(datum.value)"}],
            "params": [
              {"name": "pick", "select": {"type": "point", "fields": ["model"]}, "bind": "legend"}
            ],
            "mark": {"type": "point", "strokeWidth": 1.5},
            "encoding": {
              "y": "@y",
              "shape": {
                "field": "model", "type": "nominal", "scale": "@shapes", "title": "Model",
                "legend": {"values": "@present_models"}
              },
              "fill": {
                "condition": {
                  "test": "datum.source == 'measured'", "field": "model", "type": "nominal",
                  "scale": "@colours", "title": "Model", "legend": {"values": "@present_models"}
                },
                "value": "transparent"
              },
              "tooltip": [
                {"field": "model", "title": "Model"},
                {"field": "context", "title": "Context", "format": ","},
                {"field": "text", "title": "@title"},
                {"field": "interval", "title": "Interval of the median"},
                {"field": "spread", "title": "5th to 95th percentile"},
                {"field": "runs", "title": "Runs"},
                {"field": "source", "title": "Source"},
                {"field": "flags", "title": "Flags"}
              ]
            }
          }
        ]
      })json",
             {{"context", context_channel(rows)},
              {"colours", model_colours(study)},
              {"shapes", model_shapes(study)},
              {"title", metric.title},
              {"source_legend", sources.size() > 1 ? JsonValue{{"symbolSize", 500}} : JsonValue()},
              {"present_models", present(rows, "model", model_names(study))},
              {"y", y}});

  // Where some have none, a bar of no length behind the point keeps the scale of a panel whole.
  if (!any_row(rows, "low")) drop_layer(view, "intervals");

  // What ran out of memory or failed: a cross at the top, one line per model.
  int line = 0;
  for (const std::string& model : model_names(study)) {
    if (!failing.contains(model)) continue;
    view["layer"].push_back(filled(R"json({
      "transform": [
        {"filter": {"and": ["!isValid(datum.value)", {"field": "model", "equal": "@model"}]}}
      ],
      "mark": {"type": "text", "text": "\u2715", "fontSize": 12, "fontWeight": "bold"},
      "encoding": {
        "y": {"value": "@y"},
        "tooltip": [
          {"field": "model", "title": "Model"},
          {"field": "context", "title": "Context", "format": ","},
          {"field": "outcome", "title": "Outcome"},
          {"field": "reason", "title": "Reason"}
        ]
      }
    })json",
                                   {{"model", model}, {"y", 8 + 13 * line++}}));
  }
  return view;
}

FigureContent line_figure(const Study& study, const LineMetric& metric) {
  JsonValue rows = line_rows(study, metric);
  if (std::none_of(rows.begin(), rows.end(),
                   [](const JsonValue& r) { return r.contains("value"); }))
    return {.empty = metric.missing};
  const std::vector<std::string> panels = values_of(rows, "panel");
  JsonValue view = line_view(study, metric, rows);
  return {.spec = chart(std::move(rows), std::move(view), panels, {620, 340}, {330, 240}, 2),
          .table = line_table(study, metric)};
}

}  // namespace tidemark
