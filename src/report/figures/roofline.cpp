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

struct Sum {
  double time_s = 0, ops = 0, bytes = 0;
};

// One point per role: operators of the same purpose over all layers.
std::map<Role, std::pair<Category, Sum>> sums_by_role(const OperatorProfile& profile) {
  std::map<Role, std::pair<Category, Sum>> sums;
  for (const OperatorRow& row : profile.rows) {
    auto& [category, sum] = sums[row.role];
    category = row.category;
    sum.time_s += row.time_s;
    sum.ops += static_cast<double>(row.ops);
    sum.bytes += static_cast<double>(row.bytes_read + row.bytes_written);
  }
  return sums;
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

}  // namespace

FigureContent roofline_figure(const Study& study) {
  const Configurations configurations(study);
  // Of each model and configuration the longest context that was profiled.
  std::map<std::string, const Record*> longest;
  DataTable table{.columns = {"Model", "Configuration", "Context (tokens)", "Phase", "Role",
                              "Group", "Time (ms)", "Share (%)", "Operations per byte", "GFLOP/s",
                              "GB/s"}};
  for (const Record* r : newest_records(study)) {
    if (r->source != Source::measured || (!r->prefill && !r->decode)) continue;
    const Record*& slot = longest[panel_title(*r, configurations)];
    if (!slot || slot->cell.context < r->cell.context) slot = r;
  }
  JsonValue rows = JsonValue::array();
  std::map<std::string, std::pair<double, double>> range_of_panel;
  std::set<std::pair<std::string, std::pair<std::string, DType>>> machines;
  for (const Record* r : newest_records(study)) {
    if (r->source != Source::measured) continue;
    for (Phase phase : {Phase::prefill, Phase::decode}) {
      const auto& profile = phase == Phase::prefill ? r->prefill : r->decode;
      if (!profile || profile->wall_s <= 0) continue;
      for (const auto& [role, category_sum] : sums_by_role(*profile)) {
        const auto& [category, sum] = category_sum;
        if (sum.time_s <= 0 || sum.bytes <= 0) continue;
        const double intensity = sum.ops / sum.bytes, gflops = sum.ops / sum.time_s / 1e9;
        const double share = sum.time_s / profile->wall_s;
        const std::string configuration = configurations.of(r->cell);
        table.rows.push_back({r->cell.model, configuration, r->cell.context, name(phase),
                              name(role), name(group(category, role)), 1e3 * sum.time_s,
                              100 * share, intensity, gflops, sum.bytes / sum.time_s / 1e9});
        // Copies compute nothing and have no place on logarithmic axes.
        if (sum.ops <= 0 || longest[panel_title(*r, configurations)] != r) continue;
        const std::string panel = configuration.empty()
                                      ? std::string(name(phase))
                                      : std::string(name(phase)) + ", " + configuration;
        machines.insert({panel, {r->cell.device, r->cell.dtype}});
        auto [range, fresh] = range_of_panel.try_emplace(panel, intensity, intensity);
        range->second.first = std::min(range->second.first, intensity);
        range->second.second = std::max(range->second.second, intensity);
        rows.push_back({{"kind", "point"},
                        {"panel", panel},
                        {"model", r->cell.model},
                        {"context", r->cell.context},
                        {"role", name(role)},
                        {"group", name(group(category, role))},
                        {"share", share},
                        {"intensity", intensity},
                        {"gflops", gflops},
                        {"bandwidth", number_text(sum.bytes / sum.time_s / 1e9) + " GB/s"},
                        {"time", time_text(sum.time_s)}});
      }
    }
  }
  if (rows.empty()) return {.empty = "No measured record holds operator times with their costs."};
  // Prefill before decode, then by configuration.
  std::vector<std::string> panels = values_of(rows, "panel");
  std::stable_sort(panels.begin(), panels.end(), [](const auto& a, const auto& b) {
    return a.starts_with("prefill") && !b.starts_with("prefill");
  });
  for (const auto& [panel, machine] : machines)
    for (const Ceiling& c : study.ceilings)
      if (c.device == machine.first && c.dtype == machine.second)
        add_ceiling(rows, c, panel, range_of_panel[panel].first, range_of_panel[panel].second);

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
  FigureContent content{.table = std::move(table)};
  if (!any_row(rows, "kind", "ceiling")) drop_layer(view, "ceilings");
  content.remarks = "Of each model the longest context; the table holds all.";
  if (!any_row(rows, "kind", "ceiling"))
    content.remarks += " The ceilings of this machine are not known: no device profile was given.";
  content.spec = chart(std::move(rows), std::move(view), panels, {560, 380}, {340, 280}, 2);
  return content;
}

}  // namespace tidemark
