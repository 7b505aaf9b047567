// Memory by tag against context, stacked, one panel per model and configuration.
#include <algorithm>
#include <set>
#include <tuple>

#include "base/units.h"
#include "report/figures/chart.h"
#include "report/figures/lines.h"
#include "report/figures/series.h"
#include "report/text.h"

namespace tidemark {
namespace {

constexpr double mib = 1 << 20, gib = 1 << 30;

// What a bar shows: the arenas' high-water mark where it was measured, the plan elsewhere.
const MemoryByTag& shown(const Record& r) {
  return r.memory.high_water ? *r.memory.high_water : r.memory.predicted;
}

int64_t shown_total(const Record& r) {
  return shown(r).total() + r.memory.driver_bytes.value_or(0);
}

// The line a bar is held against: the limit asked for, else what the arenas were allowed.
int64_t budget(const Record& r) {
  return r.cell.memory_limit_bytes > 0 ? r.cell.memory_limit_bytes : r.memory.budget_bytes;
}

// One record per cell: the measured one where there are both.
std::vector<const Record*> shown_records(const Study& study) {
  std::vector<const Record*> records;
  std::set<std::string> measured;
  for (const Record* r : newest_records(study))
    if (r->source == Source::measured) measured.insert(cell_key(r->cell));
  for (const Record* r : newest_records(study)) {
    if (r->source == Source::predicted && measured.contains(cell_key(r->cell))) continue;
    // A cell that failed before it was planned has nothing to stack, but its cross is a result.
    if (shown_total(*r) > 0 || r->outcome != Outcome::ok) records.push_back(r);
  }
  return records;
}

void add_bars(JsonValue& rows, const Record& r, const std::string& configuration) {
  const auto add = [&](std::string_view tag, int64_t bytes, int order) {
    if (bytes == 0) return;
    rows.push_back({{"kind", "tag"},
                    {"model", r.cell.model},
                    {"configuration", configuration},
                    {"context", r.cell.context},
                    {"tag", tag},
                    {"order", order},
                    {"gib", static_cast<double>(bytes) / gib},
                    {"text", format_bytes(bytes)},
                    {"total", format_bytes(shown_total(r))},
                    {"basis", r.memory.high_water ? "measured" : "planned"}});
  };
  int order = 0;
  for (Tag tag : all_tags) add(name(tag), shown(r)[tag], order++);
  add("driver", r.memory.driver_bytes.value_or(0), order);
}

void add_total(JsonValue& rows, const Record& r, const std::string& configuration) {
  const int64_t planned = r.memory.predicted.total();
  rows.push_back({{"kind", "total"},
                  {"model", r.cell.model},
                  {"configuration", configuration},
                  {"context", r.cell.context},
                  {"gib", static_cast<double>(std::max(planned, shown_total(r))) / gib},
                  {"planned", static_cast<double>(planned) / gib},
                  {"outcome", name(r.outcome)},
                  {"reason", r.reason},
                  {"text", format_bytes(planned)}});
}

// Budgets above `most_bytes` would only flatten the bars.
JsonValue memory_rows(const std::vector<const Record*>& records,
                      const Configurations& configurations, int64_t most_bytes) {
  JsonValue rows = JsonValue::array();
  std::set<std::tuple<std::string, std::string, int64_t>> budgets;
  for (const Record* r : records) {
    const std::string configuration = configurations.of(r->cell);
    add_bars(rows, *r, configuration);
    add_total(rows, *r, configuration);
    if (budget(*r) > 0 && budget(*r) <= most_bytes)
      budgets.insert({r->cell.model, configuration, budget(*r)});
  }
  for (const auto& [model, configuration, bytes] : budgets)
    rows.push_back({{"kind", "budget"},
                    {"model", model},
                    {"configuration", configuration},
                    {"gib", static_cast<double>(bytes) / gib},
                    {"text", "budget " + format_bytes(bytes)}});
  return rows;
}

DataTable memory_table(const std::vector<const Record*>& records,
                       const Configurations& configurations) {
  DataTable table{.columns = {"Model", "Configuration", "Source", "Context (tokens)"}};
  for (const std::string& tag : tag_order()) table.columns.push_back(tag + " (MiB)");
  for (const char* column : {"Total (MiB)", "Planned total (MiB)", "Peak RSS (MiB)", "Budget (MiB)",
                             "Outcome", "Reason"})
    table.columns.emplace_back(column);
  table.bar = "Total (MiB)";
  table.brief = {"Model",       "Configuration",       "Source",       "Context (tokens)",
                 "Total (MiB)", "Planned total (MiB)", "Budget (MiB)", "Outcome"};
  for (const Record* r : records) {
    std::vector<JsonValue> row = {r->cell.model, configurations.of(r->cell), name(r->source),
                                  r->cell.context};
    const auto add = [&](std::optional<int64_t> bytes) {
      row.push_back(bytes ? JsonValue(static_cast<double>(*bytes) / mib) : JsonValue(nullptr));
    };
    for (Tag tag : all_tags) add(shown(*r)[tag]);
    add(r->memory.driver_bytes);
    add(shown_total(*r));
    add(r->memory.predicted.total());
    add(r->memory.peak_rss_bytes);
    add(budget(*r) > 0 ? std::optional(budget(*r)) : std::nullopt);
    row.push_back(name(r->outcome));
    row.push_back(r->reason);
    table.rows.push_back(std::move(row));
  }
  return table;
}

JsonValue memory_view(const JsonValue& rows, int64_t largest_bytes) {
  JsonValue view = filled(R"json({
    "layer": [
      {
        "name": "bars", "transform": [{"filter": "datum.kind == 'tag'"}],
        "mark": {"type": "bar", "width": {"band": 0.78}},
        "encoding": {
          "x": "@x",
          "y": {
            "field": "gib", "type": "quantitative", "stack": "zero", "title": "Memory (GiB)",
            "axis": {"tickCount": 5}, "scale": {"domain": [0, "@top"]}
          },
          "color": {
            "field": "tag", "type": "nominal", "title": "Tag", "scale": "@tags",
            "legend": {"values": "@present_tags"}
          },
          "order": {"field": "order", "type": "quantitative"},
          "opacity": {
            "condition": {"test": "datum.basis == 'measured'", "value": 1}, "value": 0.45
          },
          "tooltip": [
            {"field": "context", "title": "Context", "format": ","},
            {"field": "tag", "title": "Tag"},
            {"field": "text", "title": "Size"},
            {"field": "total", "title": "All tags"},
            {"field": "basis", "title": "Basis"}
          ]
        }
      },
      {
        "name": "plans", "transform": [{"filter": "datum.kind == 'total' && datum.planned > 0"}],
        "mark": {"type": "tick", "thickness": 2, "width": {"band": 0.9}},
        "encoding": {
          "x": "@x", "y": {"field": "planned", "type": "quantitative"},
          "tooltip": [
            {"field": "context", "title": "Context", "format": ","},
            {"field": "text", "title": "Planned total"}
          ]
        }
      },
      {
        "name": "failures",
        "transform": [{"filter": "datum.kind == 'total' && datum.outcome != 'ok'"}],
        "mark": {"type": "text", "text": "\u2715", "dy": -9, "fontSize": 13, "fontWeight": "bold"},
        "encoding": {
          "x": "@x", "y": {"field": "gib", "type": "quantitative"},
          "tooltip": [
            {"field": "context", "title": "Context", "format": ","},
            {"field": "outcome", "title": "Outcome"},
            {"field": "reason", "title": "Reason"}
          ]
        }
      },
      {
        "name": "budgets", "transform": [{"filter": "datum.kind == 'budget'"}],
        "mark": {"type": "rule", "strokeDash": [6, 4], "strokeWidth": 1.5},
        "encoding": {
          "y": {"field": "gib", "type": "quantitative"},
          "tooltip": [{"field": "text", "title": "Line"}]
        }
      },
      {
        "name": "budget_labels", "transform": [{"filter": "datum.kind == 'budget'"}],
        "mark": {"type": "text", "align": "left", "baseline": "bottom", "dy": -3, "fontSize": 11},
        "encoding": {
          "x": {"value": 4}, "y": {"field": "gib", "type": "quantitative"},
          "text": {"field": "text"}
        }
      }
    ]
  })json",
                          {{"x",
                            {{"field", "context"},
                             {"type", "ordinal"},
                             {"axis",
                              {{"title", "Context (tokens)"},
                               {"labelExpr", context_label},
                               {"labelAngle", 0},
                               {"labelOverlap", true}}}}},
                           {"top", 1.12 * static_cast<double>(largest_bytes) / gib},
                           {"tags", tag_colours()},
                           {"present_tags", present(rows, "tag", tag_order())}});
  bool failures = false, plans = false;
  for (const JsonValue& row : rows) {
    if (row["kind"] != "total") continue;
    failures = failures || row["outcome"] != name(Outcome::ok);
    plans = plans || row["planned"] > 0;
  }
  if (!failures) drop_layer(view, "failures");
  if (!plans) drop_layer(view, "plans");
  if (!any_row(rows, "kind", "budget")) {
    drop_layer(view, "budgets");
    drop_layer(view, "budget_labels");
  }
  return view;
}

}  // namespace

FigureContent memory_figure(const Study& study) {
  const Configurations configurations(study);
  std::vector<const Record*> records = shown_records(study);
  int64_t largest = 0, largest_budget = 0;
  // A panel without a single bar says nothing that the list of failures does not.
  std::set<std::string> with_bars;
  for (const Record* r : records) {
    largest = std::max({largest, shown_total(*r), r->memory.predicted.total()});
    if (shown_total(*r) > 0) with_bars.insert(r->cell.model);
  }
  if (largest == 0) return {.empty = "No record holds memory by tag."};
  std::erase_if(records, [&](const Record* r) { return !with_bars.contains(r->cell.model); });
  for (const Record* r : records) largest_budget = std::max(largest_budget, budget(*r));

  JsonValue rows = memory_rows(records, configurations, 2 * largest);
  JsonValue view = memory_view(rows, largest);
  FigureContent content{.table = memory_table(records, configurations)};
  if (largest_budget > 2 * largest)
    content.remarks =
        "Budgets more than twice as large as the largest bar are not drawn; the table holds "
        "them.";
  content.spec = model_panels(std::move(rows), std::move(view), {560, 340}, {230, 170});
  return content;
}

}  // namespace tidemark
