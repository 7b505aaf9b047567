// Tokens per second of prefill and of decode against context, one column of panels each.
#include "report/figures/chart.h"
#include "report/figures/lines.h"
#include "report/text.h"

namespace tidemark {
namespace {

LineMetric metric(const char* title, std::optional<Summary> Metrics::*member) {
  return {.title = title,
          .unit = "tokens/s",
          .of = [member](const Record& r) { return r.metrics.*member; },
          .text = [](double v) { return number_text(v) + " tokens/s"; }};
}

// Rows of one phase, their panels named after it.
JsonValue phase_rows(const Study& study, const LineMetric& metric, const std::string& phase) {
  JsonValue rows = line_rows(study, metric);
  for (JsonValue& row : rows) {
    const auto configuration = row["panel"].get<std::string>();
    row["panel"] = configuration.empty() ? phase : phase + ", " + configuration;
  }
  return rows;
}

}  // namespace

FigureContent throughput_figure(const Study& study) {
  const LineMetric prefill = metric("Prefill", &Metrics::prefill_tokens_per_s);
  LineMetric decode = metric("Decode", &Metrics::decode_tokens_per_s);
  decode.of_decode = true;
  JsonValue rows = phase_rows(study, prefill, "Prefill");
  bool any = false;
  for (JsonValue& row : phase_rows(study, decode, "Decode")) rows.push_back(std::move(row));
  for (const JsonValue& row : rows) any = any || row.contains("value");
  if (!any) return {.empty = "No record holds a throughput."};
  LineMetric both = prefill;
  both.title = "Tokens per second";
  both.own_axes = true;
  const std::vector<std::string> panels = values_of(rows, "panel");
  JsonValue view = line_view(study, both, rows);
  view["resolve"] = {{"scale", {{"y", "independent"}}}};
  DataTable table = line_table(study, prefill);
  table.columns.insert(table.columns.begin(), "Phase");
  for (auto& row : table.rows) row.insert(row.begin(), "prefill");
  for (auto& row : line_table(study, decode).rows) {
    row.insert(row.begin(), "decode");
    table.rows.push_back(std::move(row));
  }
  table.columns[5] = table.bar = "Tokens per second";
  table.brief = {"Phase",   "Model",  "Configuration", "Source", "Context (tokens)",
                 table.bar, "Outcome"};
  return {.spec = chart(std::move(rows), std::move(view), panels, {620, 340}, {330, 240}, 2),
          .table = std::move(table)};
}

}  // namespace tidemark
