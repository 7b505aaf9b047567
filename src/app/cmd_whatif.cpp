#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/limit.h"
#include "app/options.h"
#include "app/whatif.h"
#include "base/error.h"
#include "base/units.h"
#include "model/load.h"
#include "report/figures/chart.h"
#include "report/table.h"

namespace tidemark {
namespace {

struct Options {
  std::string model, device, scales, context = "512..128k*4", engine = "own", figure;
  WorkloadOptions workload;
  bool json = false;
};

struct Row {
  WhatIf result;
  Gain best;
};

std::string times(const std::optional<double>& gain) {
  return gain ? fmt::format("{:.2f}x", *gain) : "–";
}

void print(const std::vector<Row>& rows) {
  Table table{.columns = {{"context", Align::right, 9},
                          {"", Align::left},
                          {"TTFT"},
                          {"TPOT"},
                          {"energy of prefill"}},
              .rows = {}};
  for (const Row& row : rows) {
    const Record& before = row.result.before;
    const auto seconds = [](const std::optional<Summary>& s) {
      return s ? time_text(s->median) : "–";
    };
    table.rows.push_back(
        {std::to_string(row.result.context),
         before.outcome == Outcome::ok ? "as it is" : "does not fit",
         seconds(before.metrics.ttft_s), seconds(before.metrics.tpot_s),
         before.prefill_energy ? number_text(before.prefill_energy->total_j) + " J" : "–"});
    for (const Gain& gain : row.result.gains)
      table.rows.push_back({"", gain.what, times(gain.ttft), times(gain.tpot), times(gain.energy)});
  }
  fmt::print("{}\n", render(table, style_of(stdout)));
  Table first{.columns = {{"context", Align::right, 9},
                          {"buy first", Align::left},
                          {"TTFT with twice as much"},
                          {"TPOT"}},
              .rows = {}};
  for (const Row& row : rows)
    first.rows.push_back({std::to_string(row.result.context), row.best.what, times(row.best.ttft),
                          times(row.best.tpot)});
  fmt::print("{}", render(first, style_of(stdout)));
}

nlohmann::ordered_json to_json(const Gain& gain) {
  nlohmann::ordered_json json = {{"what", gain.what}};
  if (gain.ttft) json["ttft_speedup"] = *gain.ttft;
  if (gain.tpot) json["tpot_speedup"] = *gain.tpot;
  if (gain.energy) json["prefill_energy_reduction"] = *gain.energy;  // before over after
  return json;
}

// Speed-up against context, a line per scale and a panel per metric.
nlohmann::ordered_json figure(const Options& options, const std::vector<Row>& rows) {
  nlohmann::ordered_json values = nlohmann::ordered_json::array();
  for (const Row& row : rows)
    for (const Gain& gain : row.result.gains)
      for (const auto& [metric, speedup] : {std::pair("TTFT", gain.ttft), {"TPOT", gain.tpot}})
        if (speedup)
          values.push_back({{"context", row.result.context},
                            {"metric", metric},
                            {"scaled", gain.what},
                            {"speedup", *speedup}});
  return {{"$schema", vega_lite_schema},
          {"title", fmt::format("{} on {}: predicted speed-up", options.model, options.device)},
          {"data", {{"values", std::move(values)}}},
          {"mark", {{"type", "line"}, {"point", true}}},
          {"encoding",
           {{"x",
             {{"field", "context"},
              {"type", "quantitative"},
              {"scale", {{"type", "log"}, {"base", 2}}},
              {"title", "Context (tokens)"}}},
            {"y",
             {{"field", "speedup"},
              {"type", "quantitative"},
              {"scale", {{"zero", false}}},
              {"title", "Speed-up"}}},
            {"color", {{"field", "scaled"}, {"type", "nominal"}, {"title", "Scaled"}}},
            {"column", {{"field", "metric"}, {"type", "nominal"}, {"title", nullptr}}}}}};
}

// How far the context reaches in the memory there is, and in the scaled one.
void print_limits(const Options& options, const ModelSpec& spec, const DeviceProfile& profile,
                  const std::vector<Scale>& scales, EngineModel engine) {
  for (const Scale& scale : scales) {
    if (scale.name != "memory") continue;
    const auto limit = [&](double budget) {
      LimitRequest request{.workload = workload_of(options.workload, 1),  // steps set the context
                           .whole_chunk = options.workload.chunk == "whole",
                           .budget_bytes = static_cast<int64_t>(budget)};
      if (engine == EngineModel::eager_full) {
        request.workload = eager_workload(request.workload);
        request.whole_chunk = true;
      }
      return find_limit(
                 spec, request,
                 [&](const Plan& plan) { return predicted_memory(spec, plan, engine, profile); })
          .context;
    };
    const double bytes = profile.memory_bytes.value;
    fmt::print("\nlargest context: {} tokens in {}, {} in {}\n", limit(bytes),
               format_bytes(static_cast<int64_t>(bytes)), limit(bytes * scale.factor),
               format_bytes(static_cast<int64_t>(bytes * scale.factor)));
  }
}

int run(const Options& options) {
  check_outputs({options.figure, options.json ? "-" : ""}, {options.model, options.device});
  const ModelSpec spec = load_spec(options.model);
  const DeviceProfile profile = load_profile(options.device);
  const std::vector<Scale> scales = parse_scales(options.scales);
  const EngineModel engine = engine_option(options.engine);
  std::vector<Row> rows;
  for (const int64_t context : token_list_option("--context", options.context)) {
    const Workload workload = workload_of(options.workload, context);
    rows.push_back({what_if(spec, profile, workload, engine, scales),
                    best_purchase(spec, profile, workload, engine)});
  }
  if (!options.figure.empty()) write_output(options.figure, figure(options, rows).dump(1) + "\n");
  if (options.json) {
    nlohmann::ordered_json json = {{"model", spec.name}, {"device", profile.name}};
    for (const Row& row : rows) {
      nlohmann::ordered_json at = {{"context", row.result.context}};
      for (const Gain& gain : row.result.gains) at["gains"].push_back(to_json(gain));
      at["buy_first"] = row.best.what;
      json["contexts"].push_back(std::move(at));
    }
    fmt::print("{}\n", json.dump(2));
    return exit_ok;
  }
  // What is known against the longest is all that is known.
  const Row& longest =
      *std::ranges::max_element(rows, {}, [](const Row& row) { return row.result.context; });
  fmt::print("{} on {} ({}), predicted: how many times as fast\n\n", spec.name, profile.name,
             fmt::join(longest.result.before.flags, ", "));
  print(rows);
  print_limits(options, spec, profile, scales, engine);
  return exit_ok;
}

}  // namespace

void add_whatif_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "whatif", "Predict what faster units, more bandwidth or a bigger memory would give");
  command->add_option("model", options->model, "Preset name or folder with config.json")
      ->required();
  command->add_option("--on", options->device, "Device profile: a name or a file")->required();
  command
      ->add_option("--scale", options->scales,
                   "What is how many times as fast or large: ssm_scan=4x,bandwidth=2x; of " +
                       fmt::format("{}", fmt::join(scale_names(), ", ")))
      ->required();
  command->add_option("--context", options->context, "Prompt tokens: 512,2k or 1k..64k*2")
      ->capture_default_str();
  add_workload_options(*command, options->workload);
  command->add_option("--engine-model", options->engine, "own or eager-full, as in predict")
      ->capture_default_str();
  command->add_option("--figure", options->figure,
                      "Write speed-up against context as a Vega-Lite figure to a file, or -");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace tidemark
