// Where the time goes: the share of each group of operators in a pass against context, and across
// devices. Shares and the gap no operator accounts for make up the whole pass.
#include "report/figures/operators.h"

#include <algorithm>
#include <map>
#include <set>

#include "report/figures/chart.h"
#include "report/figures/series.h"
#include "report/grouping.h"

namespace tidemark {
namespace {

const std::optional<OperatorProfile>& profile_of(const Record& r, Phase phase) {
  return phase == Phase::prefill ? r.prefill : r.decode;
}

DataTable share_table(const std::vector<const Record*>& records,
                      const Configurations& configurations, Phase phase) {
  DataTable table{
      .columns = {"Model", "Configuration", "Source", "Phase", "Context (tokens)", "Pass (ms)"}};
  for (Group g : all_groups) table.columns.push_back(std::string(name(g)) + " (%)");
  for (const char* column : {"gap (%)", "Profiled passes", "Profiled / unprofiled",
                             "Device busy (ms)", "Host dispatch (ms)", "Device idle (ms)"})
    table.columns.emplace_back(column);
  table.brief = {"Model", "Configuration", "Source", "Context (tokens)", "Pass (ms)", "gap (%)"};
  for (Group g : all_groups) table.brief.push_back(std::string(name(g)) + " (%)");
  for (const Record* r : records) {
    const OperatorProfile& profile = *profile_of(*r, phase);
    const GroupTimes times = group_times(profile);
    std::vector<JsonValue> row = {r->cell.model,   configurations.of(r->cell),
                                  name(r->source), name(phase),
                                  r->cell.context, 1e3 * profile.wall_s};
    for (Group g : all_groups) row.push_back(100 * times.of(g) / profile.wall_s);
    row.push_back(100 * times.gap_s / profile.wall_s);
    row.push_back(profile.passes);
    row.push_back(profile.overhead ? JsonValue(*profile.overhead) : JsonValue(nullptr));
    if (profile.device)
      row.insert(row.end(), {1e3 * profile.device->busy_s, 1e3 * profile.device->host_dispatch_s,
                             1e3 * profile.device->idle_s});
    else
      row.insert(row.end(), 3, nullptr);
    table.rows.push_back(std::move(row));
  }
  return table;
}

// Of GPUs' own clocks older records know nothing, and a machine without CUPTI.
std::string timed_by_host(const std::vector<const Record*>& records, Phase phase) {
  const bool some = std::ranges::any_of(records, [&](const Record* r) {
    return r->source == Source::measured && r->cell.device.starts_with("cuda") &&
           !profile_of(*r, phase)->device;
  });
  return some ? "Operators of a GPU were timed by the host: launching and waiting is in each." : "";
}

// Bars of shares over `x`, a field of the rows, with the length of the pass above.
JsonValue share_view(JsonValue x, const JsonValue& rows) {
  return filled(R"json({
    "layer": [
      {
        "transform": [{"filter": "isValid(datum.share)"}],
        "mark": {"type": "bar", "width": {"band": 0.78}},
        "encoding": {
          "x": "@x",
          "y": {
            "field": "share", "type": "quantitative", "stack": "zero",
            "title": "Share of the pass",
            "axis": {"format": ".0%", "values": [0, 0.25, 0.5, 0.75, 1]},
            "scale": {"domain": [0, 1.22]}
          },
          "color": {
            "field": "group", "type": "nominal", "title": "Operators", "scale": "@groups",
            "legend": {"values": "@present_groups"}
          },
          "order": {"field": "order", "type": "quantitative"},
          "tooltip": [
            {"field": "group", "title": "Operators"},
            {"field": "context", "title": "Context", "format": ","},
            {"field": "share", "title": "Share", "format": ".2%"},
            {"field": "text", "title": "Time"},
            {"field": "wall", "title": "Whole pass"},
            {"field": "source", "title": "Source"}
          ]
        }
      },
      {
        "transform": [{"filter": "isValid(datum.top)"}],
        "mark": {
          "type": "text", "align": "left", "baseline": "middle", "angle": 320, "dx": 2, "dy": -5,
          "fontSize": 9
        },
        "encoding": {
          "x": "@x", "y": {"field": "top", "type": "quantitative"}, "text": {"field": "short"}
        }
      }
    ]
  })json",
                {{"x", std::move(x)},
                 {"groups", group_colours()},
                 {"present_groups", present(rows, "group", group_colours()["domain"])}});
}

// `place` says where the bar stands: "model" and "configuration", or "panel" and "at".
void add_shares(JsonValue& rows, const Record& r, const OperatorProfile& profile,
                const JsonValue& place) {
  const GroupTimes times = group_times(profile);
  JsonValue common = place;
  common["context"] = r.cell.context;
  common["source"] = name(r.source);
  common["wall"] = time_text(profile.wall_s);
  const Unit unit = time_unit(profile.wall_s);
  common["short"] = fmt::format("{:.2g} {}", profile.wall_s * unit.per_base, unit.name);
  if (profile.wall_s * unit.per_base >= 100)
    common["short"] = fmt::format("{:.0f} {}", profile.wall_s * unit.per_base, unit.name);
  double top = 0;
  int order = 0;
  const auto add = [&](std::string_view group, double time_s) {
    JsonValue row = common;
    row["group"] = group;
    row["order"] = order++;
    row["share"] = time_s / profile.wall_s;
    row["text"] = time_text(time_s);
    rows.push_back(std::move(row));
    top += std::max(time_s, 0.0) / profile.wall_s;
  };
  for (Group g : all_groups)
    if (times.of(g) != 0) add(name(g), times.of(g));
  if (times.gap_s != 0) add("gap", times.gap_s);
  JsonValue label = common;
  label["top"] = top;
  rows.push_back(std::move(label));
}

// Measured profiles of a phase; predicted ones of cells that were not measured.
std::vector<const Record*> profiled(const Study& study, Phase phase) {
  std::vector<const Record*> records;
  std::set<std::string> measured;
  for (const Record* r : newest_records(study)) {
    const auto& profile = profile_of(*r, phase);
    if (!profile || profile->wall_s <= 0 || profile->rows.empty()) continue;
    if (r->source == Source::measured) measured.insert(cell_key(r->cell));
    records.push_back(r);
  }
  std::erase_if(records, [&](const Record* r) {
    return r->source == Source::predicted && measured.contains(cell_key(r->cell));
  });
  return records;
}

FigureContent shares_figure(const Study& study, Phase phase) {
  const Configurations configurations(study);
  const std::vector<const Record*> records = profiled(study, phase);
  if (records.empty())
    return {.empty = fmt::format("No record holds the operators of a {} pass.", name(phase))};
  JsonValue rows = JsonValue::array();
  for (const Record* r : records)
    add_shares(rows, *r, *profile_of(*r, phase),
               {{"model", r->cell.model}, {"configuration", configurations.of(r->cell)}});
  const JsonValue x = {
      {"field", "context"},
      {"type", "ordinal"},
      {"axis",
       {{"title", phase == Phase::prefill ? "Context (tokens)" : "Tokens before the step"},
        {"labelExpr", context_label},
        {"labelAngle", 0}}}};
  JsonValue view = share_view(x, rows);
  return {.spec = model_panels(std::move(rows), std::move(view), {560, 320}, {230, 160}),
          .table = share_table(records, configurations, phase),
          .remarks = timed_by_host(records, phase)};
}

}  // namespace

GroupTimes group_times(const OperatorProfile& profile) {
  GroupTimes times{.gap_s = profile.gap_s};
  for (const OperatorRow& row : profile.rows)
    times.time_s[static_cast<size_t>(group(row.category, row.role))] += row.time_s;
  return times;
}

FigureContent prefill_operators_figure(const Study& study) {
  return shares_figure(study, Phase::prefill);
}

FigureContent decode_operators_figure(const Study& study) {
  return shares_figure(study, Phase::decode);
}

FigureContent devices_figure(const Study& study) {
  const Configurations configurations(study);
  const std::vector<const Record*> records = profiled(study, Phase::prefill);
  // model -> context -> devices
  std::map<std::string, std::map<int64_t, std::set<std::string>>> devices;
  for (const Record* r : records) devices[r->cell.model][r->cell.context].insert(r->cell.device);
  JsonValue rows = JsonValue::array();
  std::vector<const Record*> drawn;
  for (const auto& [model, by_context] : devices) {
    // The longest context that the most devices share.
    int64_t context = 0;
    size_t most = 1;
    for (const auto& [candidate, names] : by_context)
      if (names.size() > 1 && names.size() >= most) {
        most = names.size();
        context = candidate;
      }
    if (context == 0) continue;
    for (const Record* r : records) {
      if (r->cell.model != model || r->cell.context != context) continue;
      drawn.push_back(r);
      add_shares(rows, *r, *r->prefill,
                 {{"panel", model + "\n" + tokens_text(static_cast<double>(context)) + " tokens"},
                  {"at", configurations.of(r->cell)}});
    }
  }
  if (rows.empty())
    return {.empty = "No model has its operators profiled on two devices at the same context."};
  const JsonValue x = {{"field", "at"},
                       {"type", "nominal"},
                       {"title", nullptr},
                       {"axis", {{"labelAngle", -25}, {"labelLimit", 160}}}};
  const std::vector<std::string> panels = values_of(rows, "panel");
  JsonValue view = share_view(x, rows);
  return {.spec = chart(std::move(rows), std::move(view), panels, {420, 320}, {210, 180}, 3),
          .table = share_table(drawn, configurations, Phase::prefill),
          .remarks = timed_by_host(drawn, Phase::prefill)};
}

}  // namespace tidemark
