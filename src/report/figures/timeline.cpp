// Memory in use by tag over one pass.
#include "base/units.h"
#include "report/figures/chart.h"
#include "report/figures/lines.h"
#include "report/text.h"

namespace tidemark {

FigureContent timeline_figure(const Study& study) {
  JsonValue rows = JsonValue::array();
  DataTable table{.columns = {"Pass", "Time (ms)"}};
  for (Tag tag : all_tags) table.columns.push_back(std::string(name(tag)) + " (MiB)");
  constexpr double mib = 1 << 20;
  for (const MemoryTimeline& timeline : study.timelines) {
    for (const MemoryPoint& point : timeline.points) {
      std::vector<JsonValue> row = {timeline.title, 1e3 * point.time_s};
      int order = 0;
      for (Tag tag : all_tags) {
        const auto bytes = static_cast<double>(point.bytes[tag]);
        row.push_back(bytes / mib);
        rows.push_back({{"panel", timeline.title},
                        {"time", point.time_s},
                        {"tag", name(tag)},
                        {"order", order++},
                        {"mib", bytes / mib},
                        {"text", format_bytes(point.bytes[tag])}});
      }
      table.rows.push_back(std::move(row));
    }
  }
  if (rows.empty())
    return {.empty =
                "No trace was given; tidemark trace writes one, and --trace FILE adds it here."};
  JsonValue view = filled(R"json({
    "mark": {"type": "area", "interpolate": "step-after", "line": false},
    "encoding": {
      "x": {
        "field": "time",
        "type": "quantitative",
        "axis": {
          "title": "Time since the start of the pass",
          "labelExpr": "@seconds",
          "labelOverlap": true
        }
      },
      "y": {
        "field": "mib",
        "type": "quantitative",
        "stack": "zero",
        "title": "Memory in use (MiB)"
      },
      "color": {"field": "tag", "type": "nominal", "title": "Tag", "scale": "@tags"},
      "order": {"field": "order", "type": "quantitative"},
      "tooltip": [
        {"field": "tag", "title": "Tag"},
        {"field": "text", "title": "In use"},
        {"field": "time", "title": "Since (s)", "format": ".6f"}
      ]
    },
    "resolve": {"scale": {"x": "independent"}}
  })json",
                          {{"seconds", seconds_label}, {"tags", tag_colours()}});
  const std::vector<std::string> panels = panels_of(rows);
  return {.spec = chart(std::move(rows), std::move(view), panels, {620, 300}, {330, 220}, 2),
          .table = std::move(table)};
}

}  // namespace tidemark
