#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/options.h"
#include "app/session.h"
#include "base/error.h"
#include "base/units.h"
#include "plan/explain.h"
#include "plan/pass.h"
#include "report/table.h"

namespace tidemark {
namespace {

struct Options {
  std::string model, context = "512";
  WorkloadOptions workload{.new_tokens = 2};  // so that there is a decode step to show
  bool json = false;
};

struct Phased {
  Phase phase;
  std::vector<PassRow> rows;
};

nlohmann::json as_json(const Plan& plan, const MemoryLayout& layout,
                       const std::vector<Phased>& phases) {
  nlohmann::json out = {{"model", plan.model},
                        {"batch", plan.workload.batch},
                        {"context", plan.workload.context},
                        {"chunk", plan.workload.chunk},
                        {"dtype", name(plan.workload.dtype)},
                        {"logits", name(plan.workload.logits)}};
  for (Tag tag : all_tags) out["memory_bytes"][std::string(name(tag))] = layout.size_bytes[tag];
  for (const Phased& phase : phases) {
    nlohmann::json rows = nlohmann::json::array();
    for (const PassRow& row : phase.rows)
      rows.push_back({{"op", name(row.node->op)},
                      {"category", name(category(row.node->op))},
                      {"role", name(row.node->role)},
                      {"layer", row.node->layer},
                      {"shape", shape_text(row.node->op)},
                      {"calls", row.calls},
                      {"ops", saturated(row.cost.ops)},
                      {"bytes_read", saturated(row.cost.bytes_read)},
                      {"bytes_written", saturated(row.cost.bytes_written)}});
    out[std::string(name(phase.phase))] = std::move(rows);
  }
  return out;
}

void print(const Phased& phase) {
  Table table;
  table.columns = {{"layer"},
                   {"op", Align::left},
                   {"role", Align::left},
                   {"shape", Align::left},
                   {"calls"},
                   {"operations"},
                   {"read"},
                   {"written"}};
  for (const PassRow& row : phase.rows)
    table.rows.push_back({row.node->layer < 0 ? "-" : std::to_string(row.node->layer),
                          std::string(name(row.node->op)), std::string(name(row.node->role)),
                          shape_text(row.node->op), std::to_string(row.calls),
                          format_count(static_cast<double>(row.cost.ops)),
                          format_bytes(saturated(row.cost.bytes_read)),
                          format_bytes(saturated(row.cost.bytes_written))});
  const Cost sum = total(phase.rows);
  table.rows.push_back({});
  table.rows.push_back({"", "total", "", "", "", format_count(static_cast<double>(sum.ops)),
                        format_bytes(saturated(sum.bytes_read)),
                        format_bytes(saturated(sum.bytes_written))});
  Style style = style_of(stdout);
  style.width = std::max(style.width, 140);
  fmt::print("{}", render(table, style));
}

int explain(const Options& options) {
  const ModelSpec spec = load_spec(options.model);
  const Workload workload =
      workload_of(options.workload, tokens_option("--context", options.context));
  Plan plan = build_plan(spec, workload);
  const auto backend = open_backend("cpu", 0, 0);
  backend->choose_forms(plan);
  const MemoryLayout layout = layout_on(*backend, plan);
  const std::vector<Phased> phases = {{Phase::prefill, prefill_rows(plan)},
                                      {Phase::decode, decode_rows(plan, workload.context)}};
  if (options.json) {
    fmt::print("{}\n", as_json(plan, layout, phases).dump(2));
    return exit_ok;
  }
  fmt::print("{}: batch {}, context {}, chunk {}, {}, logits {}\n\n", plan.model, workload.batch,
             workload.context, plan.workload.chunk, name(workload.dtype), name(workload.logits));
  fmt::print("prefill: {} steps of {} tokens and one of {}; shapes are of the last step\n",
             plan.body_count, plan.workload.chunk, plan.step(StepKind::tail).length);
  print(phases[0]);
  // Behind the meta tokens, as its attention counts keys.
  fmt::print("\ndecode: one token per sequence at position {}\n", plan.prompt());
  print(phases[1]);
  fmt::print("\nmemory\n");
  Table table;
  table.columns = {{"tag", Align::left}, {"bytes"}, {""}};
  for (Tag tag : all_tags)
    table.rows.push_back({std::string(name(tag)), std::to_string(layout.size_bytes[tag]),
                          format_bytes(layout.size_bytes[tag])});
  table.rows.push_back({});
  table.rows.push_back({"total", std::to_string(layout.size_bytes.total()),
                        format_bytes(layout.size_bytes.total())});
  fmt::print("{}", render(table, style_of(stdout)));
  return exit_ok;
}

}  // namespace

void add_explain_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "explain", "Print the plan: operators with their shapes, operations and bytes, and memory");
  command->add_option("model", options->model, "Preset name or folder with config.json")
      ->required();
  command->add_option("--context", options->context, "Prompt tokens, e.g. 512 or 8k")
      ->capture_default_str();
  add_workload_options(*command, options->workload);
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &exit_code] { exit_code = explain(*options); });
}

}  // namespace tidemark
