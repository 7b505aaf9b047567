// What a model knows against what it costs to ask it: accuracy over TTFT at one context.
#include <map>
#include <set>

#include "report/figures/chart.h"
#include "report/figures/series.h"
#include "report/text.h"

namespace tidemark {

FigureContent accuracy_figure(const Study& study) {
  if (study.accuracies.empty())
    return {.empty = "No accuracies were given; --accuracy FILE.csv adds them (model,task,score)."};
  const Configurations configurations(study);
  // configuration -> context -> records with a TTFT whose model has an accuracy
  std::map<std::string, std::map<int64_t, std::vector<const Record*>>> found;
  std::set<std::string> scored;
  for (const Accuracy& a : study.accuracies) scored.insert(a.model);
  for (const Record* r : newest_records(study))
    if (r->source == Source::measured && r->metrics.ttft_s && scored.contains(r->cell.model))
      found[configurations.of(r->cell)][r->cell.context].push_back(r);

  JsonValue rows = JsonValue::array();
  DataTable table{.columns = {"Model", "Configuration", "Task", "Score", "Context (tokens)",
                              "TTFT (s)", "Interval"}};
  table.bar = "Score";
  for (const auto& [configuration, by_context] : found) {
    // The context that most models share; of equals the longest.
    size_t most = 0;
    int64_t context = 0;
    for (const auto& [candidate, records] : by_context)
      if (records.size() >= most) {
        most = records.size();
        context = candidate;
      }
    for (const Record* r : by_context.at(context)) {
      for (const Accuracy& a : study.accuracies) {
        if (a.model != r->cell.model) continue;
        std::string panel = tokens_text(static_cast<double>(context)) + " tokens";
        if (!a.task.empty()) panel = a.task + ", " + panel;
        if (!configuration.empty()) panel += ", " + configuration;
        const Summary& ttft = *r->metrics.ttft_s;
        rows.push_back({{"panel", panel},
                        {"model", a.model},
                        {"score", a.score},
                        {"ttft", ttft.median},
                        {"text", time_text(ttft.median)},
                        {"interval", interval_text(ttft, time_text)}});
        table.rows.push_back({a.model, configuration, a.task, a.score, context, ttft.median,
                              interval_text(ttft, time_text)});
      }
    }
  }
  if (rows.empty())
    return {.empty = "None of the models with an accuracy has a measured TTFT in this study."};
  JsonValue view =
      filled(R"json({
        "encoding": {
          "x": "@x",
          "y": {
            "field": "score", "type": "quantitative", "scale": {"zero": false, "padding": 20},
            "title": "Score"
          }
        },
        "layer": [
          {
            "mark": {"type": "point", "filled": true, "size": 110},
            "encoding": {
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
                {"field": "score", "title": "Score"},
                {"field": "text", "title": "TTFT"},
                {"field": "interval", "title": "Interval of the median"}
              ]
            }
          }
        ]
      })json",
             {{"x", log_channel("ttft", extent(rows, {"ttft"}),
                                {"TTFT (logarithmic)", std::string(seconds_label), 24})},
              {"present_models", present(rows, "model", model_names(study))},
              {"colours", model_colours(study)},
              {"shapes", model_shapes(study)}});
  const std::vector<std::string> panels = values_of(rows, "panel");
  return {.spec = chart(std::move(rows), std::move(view), panels, {560, 320}, {320, 240}, 2),
          .table = std::move(table)};
}

}  // namespace tidemark
