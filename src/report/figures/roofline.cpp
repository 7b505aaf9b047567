// The roofline of operators (Williams, Waterman and Patterson, CACM 2009): what a group of
// operators reaches against what its operations per byte allow on the machine.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "report/figures/chart.h"
#include "report/figures/series.h"
#include "report/grouping.h"

namespace tidemark {
namespace {

// Operators of the same purpose, over all layers of a pass.
struct Point {
  const Record* record = nullptr;
  Phase phase = Phase::prefill;
  Role role = Role::embed;
  Category category = Category::gemm;
  double time_s = 0, ops = 0, bytes = 0, share = 0;  // share: of the pass
  double intensity() const { return ops / bytes; }
  double gflops() const { return ops / time_s / 1e9; }
  double gigabytes_per_s() const { return bytes / time_s / 1e9; }
  std::string_view group_name() const { return name(group(category, role)); }
};

void add_points(std::vector<Point>& points, const Record& r, Phase phase) {
  const auto& profile = phase == Phase::prefill ? r.prefill : r.decode;
  if (!profile || profile->wall_s <= 0) return;
  std::map<Role, Point> by_role;
  for (const OperatorRow& row : profile->rows) {
    Point& p = by_role[row.role];
    p.category = row.category;
    p.time_s += row.time_s;
    p.ops += static_cast<double>(row.ops);
    p.bytes += static_cast<double>(row.bytes_read + row.bytes_written);
  }
  for (auto& [role, p] : by_role) {
    if (p.time_s <= 0 || p.bytes <= 0) continue;
    p.record = &r;
    p.phase = phase;
    p.role = role;
    p.share = p.time_s / profile->wall_s;
    points.push_back(p);
  }
}

std::vector<Point> measured_points(const Study& study) {
  std::vector<Point> points;
  for (const Record* r : newest_records(study))
    if (r->source == Source::measured)
      for (Phase phase : {Phase::prefill, Phase::decode}) add_points(points, *r, phase);
  return points;
}

DataTable roofline_table(const std::vector<Point>& points, const Configurations& configurations) {
  DataTable table{.columns = {"Model", "Configuration", "Context (tokens)", "Phase", "Role",
                              "Group", "Time (ms)", "Share (%)", "Operations per byte", "GFLOP/s",
                              "GB/s"}};
  for (const Point& p : points)
    table.rows.push_back({p.record->cell.model, configurations.of(p.record->cell),
                          p.record->cell.context, name(p.phase), name(p.role), p.group_name(),
                          1e3 * p.time_s, 100 * p.share, p.intensity(), p.gflops(),
                          p.gigabytes_per_s()});
  return table;
}

// Of each model and configuration the longest context that was profiled.
std::map<std::string, const Record*> longest_profiled(const Study& study,
                                                      const Configurations& configurations) {
  std::map<std::string, const Record*> longest;
  for (const Record* r : newest_records(study)) {
    if (r->source != Source::measured || (!r->prefill && !r->decode)) continue;
    const Record*& slot = longest[panel_title(*r, configurations)];
    if (!slot || slot->cell.context < r->cell.context) slot = r;
  }
  return longest;
}

std::string panel_of(const Point& p, const Configurations& configurations) {
  const std::string configuration = configurations.of(p.record->cell);
  return std::string(name(p.phase)) + (configuration.empty() ? "" : ", " + configuration);
}

void add_point(JsonValue& rows, const Point& p, const std::string& panel) {
  rows.push_back({{"kind", "point"},
                  {"panel", panel},
                  {"model", p.record->cell.model},
                  {"context", p.record->cell.context},
                  {"role", name(p.role)},
                  {"group", p.group_name()},
                  {"share", p.share},
                  {"intensity", p.intensity()},
                  {"gflops", p.gflops()},
                  {"bandwidth", number_text(p.gigabytes_per_s()) + " GB/s"},
                  {"time", time_text(p.time_s)}});
}

// Two lines per ceiling over the range of the points: bandwidth up to the ridge, then compute.
void add_ceiling(JsonValue& rows, const Ceiling& c, const std::string& panel, double least,
                 double most) {
  const double ridge = c.ops_per_s / c.bytes_per_s;
  const std::string text = fmt::format("{} GB/s, {} GFLOP/s ({})", number_text(c.bytes_per_s / 1e9),
                                       number_text(c.ops_per_s / 1e9), c.source);
  for (double intensity : {std::min(least, ridge / 4), ridge, std::max(most, ridge * 4)})
    rows.push_back({{"kind", "ceiling"},
                    {"panel", panel},
                    {"ceiling", c.device + std::string(name(c.dtype))},
                    {"intensity", intensity},
                    {"gflops", std::min(c.ops_per_s, intensity * c.bytes_per_s) / 1e9},
                    {"text", text}});
}

JsonValue roofline_rows(const Study& study, const std::vector<Point>& points,
                        const Configurations& configurations) {
  JsonValue rows = JsonValue::array();
  std::map<std::string, const Record*> longest = longest_profiled(study, configurations);
  std::map<std::string, std::pair<double, double>> range_of_panel;
  std::set<std::pair<std::string, std::pair<std::string, DType>>> machines;
  for (const Point& p : points) {
    // Copies compute nothing and have no place on logarithmic axes.
    if (p.ops <= 0 || longest[panel_title(*p.record, configurations)] != p.record) continue;
    const std::string panel = panel_of(p, configurations);
    machines.insert({panel, {p.record->cell.device, p.record->cell.dtype}});
    auto [range, fresh] = range_of_panel.try_emplace(panel, p.intensity(), p.intensity());
    range->second.first = std::min(range->second.first, p.intensity());
    range->second.second = std::max(range->second.second, p.intensity());
    add_point(rows, p, panel);
  }
  for (const auto& [panel, machine] : machines)
    for (const Ceiling& c : study.ceilings)
      if (c.device == machine.first && c.dtype == machine.second)
        add_ceiling(rows, c, panel, range_of_panel[panel].first, range_of_panel[panel].second);
  return rows;
}

JsonValue roofline_view(const JsonValue& rows, const Study& study) {
  JsonValue view = filled(
      R"json({
        "encoding": {"x": "@x", "y": "@y"},
        "layer": [
          {
            "name": "ceilings", "transform": [{"filter": "datum.kind == 'ceiling'"}],
            "mark": {"type": "line", "strokeWidth": 2, "color": "#8A8A8A", "strokeJoin": "round"},
            "encoding": {
              "detail": {"field": "ceiling"}, "order": {"field": "intensity"},
              "tooltip": [{"field": "text", "title": "Ceiling"}]
            }
          },
          {
            "transform": [{"filter": "datum.kind == 'point'"}],
            "mark": {"type": "point", "filled": true, "opacity": 0.8},
            "encoding": {
              "color": {
                "field": "group", "type": "nominal", "title": "Operators", "scale": "@groups",
                "legend": {"values": "@present_groups"}
              },
              "shape": {
                "field": "model", "type": "nominal", "title": "Model", "scale": "@shapes",
                "legend": {"values": "@present_models"}
              },
              "size": {
                "field": "share", "type": "quantitative", "title": "Share of the pass",
                "scale": {"domain": [0, 1], "range": [25, 700]},
                "legend": {"format": ".0%", "values": [0.05, 0.25, 0.75]}
              },
              "tooltip": [
                {"field": "model", "title": "Model"},
                {"field": "context", "title": "Context", "format": ","},
                {"field": "role", "title": "Role"},
                {"field": "group", "title": "Group"},
                {"field": "intensity", "title": "Operations per byte", "format": ",.4~g"},
                {"field": "gflops", "title": "GFLOP/s", "format": ",.4~g"},
                {"field": "bandwidth", "title": "Bytes per time"},
                {"field": "time", "title": "Time in a pass"},
                {"field": "share", "title": "Share", "format": ".2%"}
              ]
            }
          }
        ]
      })json",
      {{"x",
        log_channel("intensity", extent(rows, {"intensity"}), {"Operations per byte", "", 14})},
       {"y", log_channel("gflops", extent(rows, {"gflops"}), {"GFLOP/s", "", 14})},
       {"present_groups", present(rows, "group", group_colours()["domain"])},
       {"present_models", present(rows, "model", model_names(study))},
       {"groups", group_colours()},
       {"shapes", model_shapes(study)}});
  if (!any_row(rows, "kind", "ceiling")) drop_layer(view, "ceilings");
  return view;
}

}  // namespace

FigureContent roofline_figure(const Study& study) {
  const Configurations configurations(study);
  const std::vector<Point> points = measured_points(study);
  JsonValue rows = roofline_rows(study, points, configurations);
  if (rows.empty()) return {.empty = "No measured record holds operator times with their costs."};
  // Prefill before decode, then by configuration.
  std::vector<std::string> panels = values_of(rows, "panel");
  std::stable_sort(panels.begin(), panels.end(), [](const auto& a, const auto& b) {
    return a.starts_with("prefill") && !b.starts_with("prefill");
  });
  FigureContent content{.table = roofline_table(points, configurations)};
  content.remarks = "Of each model the longest context; the table holds all.";
  if (!any_row(rows, "kind", "ceiling"))
    content.remarks += " The ceilings of this machine are not known: no device profile was given.";
  JsonValue view = roofline_view(rows, study);
  content.spec = chart(std::move(rows), std::move(view), panels, {560, 380}, {340, 280}, 2);
  return content;
}

}  // namespace tidemark
