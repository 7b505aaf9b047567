// Memory in use by tag over one pass.
#include <array>
#include <set>

#include "base/units.h"
#include "report/figures/chart.h"
#include "report/text.h"

namespace tidemark {

FigureContent timeline_figure(const Study& study) {
  JsonValue rows = JsonValue::array();
  DataTable table{.columns = {"Pass", "Time (ms)"}};
  for (Tag tag : all_tags) table.columns.push_back(std::string(name(tag)) + " (MiB)");
  constexpr double mib = 1 << 20;
  for (const MemoryTimeline& timeline : study.timelines) {
    std::array<std::pair<double, double>, tag_count> before{};
    for (const MemoryPoint& point : timeline.points) {
      std::vector<JsonValue> row = {timeline.title, 1e3 * point.time_s};
      double top = 0;
      for (Tag tag : all_tags) {
        const double size = static_cast<double>(point.bytes[tag]) / mib;
        const std::pair<double, double> span = {top, top + size};
        top += size;
        row.push_back(size);
        // A step lasts until the next, so a point is needed where the area changes, and at the end.
        auto& last = before[static_cast<size_t>(tag)];
        const bool end = &point == &timeline.points.back();
        if (span == last && !end && &point != &timeline.points.front()) continue;
        last = span;
        rows.push_back({{"panel", timeline.title},
                        {"time", point.time_s},
                        {"tag", name(tag)},
                        {"low", span.first},
                        {"high", span.second},
                        {"text", format_bytes(point.bytes[tag])}});
      }
      table.rows.push_back(std::move(row));
    }
  }
  // A tag that is never used would only be a line.
  JsonValue drawn = JsonValue::array();
  std::set<std::string> used;
  for (const JsonValue& row : rows)
    if (row["high"] != row["low"]) used.insert(row["tag"]);
  for (JsonValue& row : rows)
    if (used.contains(row["tag"])) drawn.push_back(std::move(row));
  rows = std::move(drawn);
  if (rows.empty())
    return {.empty =
                "No trace was given; tidemark trace writes one, and --trace FILE adds it here."};
  JsonValue view = filled(R"json({
    "mark": {"type": "area", "interpolate": "step-after", "line": false},
    "encoding": {
      "x": {
        "field": "time", "type": "quantitative",
        "axis": {
          "title": "Time since the start of the pass", "labelExpr": "@seconds",
          "labelOverlap": true
        }
      },
      "y": {"field": "low", "type": "quantitative", "title": "Memory in use (MiB)"},
      "color": {
        "field": "tag", "type": "nominal", "title": "Tag", "scale": "@tags",
        "legend": {"values": "@present_tags"}
      },
      "tooltip": [
        {"field": "tag", "title": "Tag"},
        {"field": "text", "title": "In use"},
        {"field": "time", "title": "Since (s)", "format": ".6f"}
      ],
      "y2": {"field": "high"}
    },
    "resolve": {"scale": {"x": "independent"}}
  })json",
                          {{"seconds", seconds_label},
                           {"tags", tag_colours()},
                           {"present_tags", present(rows, "tag", tag_order())}});
  const std::vector<std::string> panels = values_of(rows, "panel");
  return {.spec = chart(std::move(rows), std::move(view), panels, {620, 300}, {330, 220}, 2),
          .table = std::move(table)};
}

}  // namespace tidemark
