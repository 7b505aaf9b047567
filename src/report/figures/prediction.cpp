// Predicted over measured, for every cell that has both.
#include <algorithm>
#include <map>

#include "report/figures/chart.h"
#include "report/figures/series.h"

namespace tidemark {
namespace {

// Whether a prediction for a named device is one for the machine that was measured: it is called
// the same, or, as "NVIDIA H200 141GB" after "NVIDIA H200", more exactly, or the reader says so. A
// name without a number is no model's.
bool answers_for(const Record& predicted, const Record& measured,
                 const std::vector<SameDevice>& same_devices) {
  const std::string& machine = measured.provenance.device_name;
  const bool of_a_model = machine.find_first_of("0123456789") != std::string::npos;
  for (const SameDevice& same : same_devices)
    if (same.machine == machine && same.device == predicted.cell.device) return true;
  return predicted.cell.device == measured.cell.device || predicted.cell.device == machine ||
         (of_a_model && predicted.provenance.device_name.starts_with(machine));
}

// What the two cells have to share.
std::string matching_key(Cell cell) {
  cell.device = "";
  cell.threads = 0;
  return cell_key(cell);
}

struct Quantity {
  const char* name;
  const char* unit;
  std::optional<double> (*of)(const Record&);
};

std::optional<double> median(const std::optional<Summary>& s) {
  return s ? std::optional(s->median) : std::nullopt;
}

constexpr Quantity quantities[] = {
    {"TTFT", "s", [](const Record& r) { return median(r.metrics.ttft_s); }},
    {"TPOT", "s", [](const Record& r) { return median(r.metrics.tpot_s); }},
    {"Memory", "MiB",
     [](const Record& r) -> std::optional<double> {
       const MemoryByTag* memory = nullptr;
       if (r.source == Source::predicted)
         memory = &r.memory.predicted;
       else if (r.memory.high_water)
         memory = &*r.memory.high_water;
       if (!memory || memory->total() == 0) return std::nullopt;
       return static_cast<double>(memory->total()) / (1 << 20);
     }},
    {"Energy per prefill", "J", [](const Record& r) -> std::optional<double> {
       if (!r.prefill_energy) return std::nullopt;
       return r.prefill_energy->total_j;
     }}};

// A measured record and the prediction for it.
struct Pair {
  const Record* predicted;
  const Record* measured;
};

std::vector<Pair> pairs_of(const Study& study) {
  std::map<std::string, std::vector<const Record*>> predictions;
  const std::vector<const Record*> records = newest_records(study);
  for (const Record* r : records)
    if (r->source == Source::predicted) predictions[matching_key(r->cell)].push_back(r);
  std::vector<Pair> pairs;
  for (const Record* r : records) {
    if (r->source != Source::measured || r->outcome != Outcome::ok) continue;
    const std::vector<const Record*>& candidates = predictions[matching_key(r->cell)];
    const auto found = std::find_if(candidates.begin(), candidates.end(), [&](const Record* p) {
      return answers_for(*p, *r, study.same_devices);
    });
    if (found != candidates.end()) pairs.push_back({*found, r});
  }
  return pairs;
}

// Of every quantity that both have.
void add_ratios(JsonValue& rows, DataTable& table, const Pair& pair,
                const std::string& configuration) {
  const Cell& cell = pair.measured->cell;
  for (const Quantity& quantity : quantities) {
    const std::optional<double> predicted = quantity.of(*pair.predicted);
    const std::optional<double> measured = quantity.of(*pair.measured);
    if (!predicted || !measured || *measured <= 0) continue;
    rows.push_back({{"panel", quantity.name},
                    {"model", cell.model},
                    {"configuration", configuration},
                    {"context", cell.context},
                    {"ratio", *predicted / *measured},
                    {"predicted", number_text(*predicted) + " " + quantity.unit},
                    {"measured", number_text(*measured) + " " + quantity.unit}});
    table.rows.push_back({quantity.name, quantity.unit, cell.model, configuration, cell.context,
                          *predicted, *measured, *predicted / *measured});
  }
}

JsonValue prediction_view(const JsonValue& rows, const Study& study) {
  // As far to either side of one as the worst ratio, and never less than a quarter.
  double widest = 1.25;
  for (const JsonValue& row : rows) {
    const double ratio = row["ratio"];
    if (ratio > 0) widest = std::max({widest, 1.05 * ratio, 1.05 / ratio});
  }
  const JsonValue ratio_axis = {
      {"title", "Predicted / measured"},
      {"values", {0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10}},
      {"labelExpr", "format(datum.value, '~r')"},
      {"labelOverlap", "greedy"}};
  return filled(R"json({
    "layer": [
      {
        "data": {"values": [{"low": 0.9, "high": 1.1, "one": 1}]},
        "mark": {"type": "rect", "color": "#8A8A8A", "opacity": 0.18},
        "encoding": {
          "y": {"field": "low", "type": "quantitative", "scale": "@scale", "axis": "@axis"},
          "y2": {"field": "high"}
        }
      },
      {
        "data": {"values": [{"low": 0.9, "high": 1.1, "one": 1}]},
        "mark": {"type": "rule", "strokeWidth": 1},
        "encoding": {
          "y": {"field": "one", "type": "quantitative", "scale": "@scale", "axis": "@axis"}
        }
      },
      {
        "mark": {"type": "line", "strokeWidth": 1, "strokeOpacity": 0.5},
        "encoding": {
          "y": {"field": "ratio", "type": "quantitative", "scale": "@scale", "axis": "@axis"},
          "x": "@context", "detail": {"field": "configuration"},
          "color": {
            "field": "model", "type": "nominal", "scale": "@colours", "title": "Model",
            "legend": {"values": "@present_models"}
          }
        }
      },
      {
        "mark": {"type": "point", "filled": true},
        "encoding": {
          "y": {"field": "ratio", "type": "quantitative", "scale": "@scale", "axis": "@axis"},
          "x": "@context",
          "color": {
            "field": "model", "type": "nominal", "scale": "@colours", "title": "Model",
            "legend": {"values": "@present_models"}
          },
          "shape": {
            "field": "model", "type": "nominal", "scale": "@shapes", "title": "Model",
            "legend": {"values": "@present_models"}
          },
          "tooltip": [
            {"field": "model", "title": "Model"},
            {"field": "configuration", "title": "Configuration"},
            {"field": "context", "title": "Context", "format": ","},
            {"field": "predicted", "title": "Predicted"},
            {"field": "measured", "title": "Measured"},
            {"field": "ratio", "title": "Predicted / measured", "format": ".4~g"}
          ]
        }
      }
    ]
  })json",
                {{"context", context_channel(rows)},
                 {"scale", {{"type", "log"}, {"nice", false}, {"domain", {1 / widest, widest}}}},
                 {"axis", ratio_axis},
                 {"present_models", present(rows, "model", model_names(study))},
                 {"colours", model_colours(study)},
                 {"shapes", model_shapes(study)}});
}

}  // namespace

FigureContent prediction_figure(const Study& study) {
  if (std::ranges::find(study.records, Source::predicted, &Record::source) == study.records.end())
    return {.empty = "No predictions in this study; tidemark predict makes them."};
  const Configurations configurations(study);
  JsonValue rows = JsonValue::array();
  DataTable table{.columns = {"Metric", "Unit", "Model", "Configuration", "Context (tokens)",
                              "Predicted", "Measured", "Predicted / measured"}};
  table.bar = "Predicted / measured";
  for (const Pair& pair : pairs_of(study))
    add_ratios(rows, table, pair, configurations.of(pair.measured->cell));
  if (rows.empty()) return {.empty = "No cell of this study was both predicted and measured."};
  JsonValue view = prediction_view(rows, study);
  const std::vector<std::string> panels = values_of(rows, "panel");
  return {.spec = chart(std::move(rows), std::move(view), panels, {560, 320}, {330, 220}, 2),
          .table = std::move(table)};
}

}  // namespace tidemark
