// Energy of one prefill against context.
#include "report/figures/chart.h"
#include "report/figures/lines.h"
#include "report/figures/series.h"
#include "report/text.h"

namespace tidemark {
namespace {

DataTable energy_table(const Study& study) {
  const Configurations configurations(study);
  DataTable table{.columns = {"Model", "Configuration", "Source", "Context (tokens)", "Phase",
                              "Energy (J)", "Idle share (J)", "Energy per prompt token (mJ)",
                              "Window (s)", "Sensor"}};
  table.bar = "Energy (J)";
  for (const Record* r : newest_records(study)) {
    const auto add = [&](const std::optional<Energy>& energy, Phase phase) {
      if (!energy) return;
      const auto tokens = static_cast<double>(r->cell.context * r->cell.batch);
      table.rows.push_back(
          {r->cell.model, configurations.of(r->cell), name(r->source), r->cell.context, name(phase),
           energy->total_j,
           energy->baseline_j ? JsonValue(*energy->baseline_j) : JsonValue(nullptr),
           phase == Phase::prefill ? JsonValue(1e3 * energy->total_j / tokens) : JsonValue(nullptr),
           energy->window_s, energy->sensor});
    };
    add(r->prefill_energy, Phase::prefill);
    add(r->decode_energy, Phase::decode);
  }
  return table;
}

}  // namespace

FigureContent energy_figure(const Study& study) {
  const LineMetric metric{
      .title = "Energy per prefill (J)",
      .unit = "J",
      .missing = "No record holds an energy: no sensor was readable on the machines measured.",
      .of = [](const Record& r) -> std::optional<Summary> {
        if (!r.prefill_energy) return std::nullopt;
        return Summary{.median = r.prefill_energy->total_j, .n = 1};
      },
      .text = [](double j) { return number_text(j) + " J"; }};
  FigureContent content = line_figure(study, metric);
  if (content.empty.empty()) content.table = energy_table(study);
  return content;
}

}  // namespace tidemark
