#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "app/commands.h"
#include "app/options.h"
#include "app/prediction.h"
#include "base/error.h"
#include "base/units.h"
#include "model/load.h"
#include "record/json.h"
#include "report/run_report.h"
#include "report/table.h"
#include "store/store.h"

namespace tidemark {
namespace {

struct Options {
  std::vector<std::string> models, devices;
  std::string context = "512", engine = "own", json, store;
  WorkloadOptions workload;
  bool operators = false;
};

// Of a device by its name.
using KindOf = std::map<std::string, DeviceKind>;

std::string interval_text(const Summary& s) {
  const Unit unit = time_unit(s.median);
  return fmt::format("{} {} ({} – {})", number_text(s.median * unit.per_base), unit.name,
                     number_text(s.ci_low * unit.per_base), number_text(s.ci_high * unit.per_base));
}

std::string energy_text(const Energy& e) {
  return fmt::format("{} J ({} – {})", number_text(e.total_j), number_text(*e.low_j),
                     number_text(*e.high_j));
}

// "compute 81 %, bandwidth 17 %": of the operators' time, by what bounds them.
std::string bounds_text(const OperatorProfile& profile) {
  std::map<Bound, double> time_s;
  double sum = 0;
  for (const OperatorRow& row : profile.rows) {
    time_s[row.bound.value_or(Bound::launch)] += row.time_s;
    sum += row.time_s;
  }
  std::vector<std::string> parts;
  for (const auto& [bound, time] : time_s)
    if (time / sum >= 0.005)
      parts.push_back(fmt::format("{} {:.0f} %", name(bound), 100 * time / sum));
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string absent_or(const std::optional<Summary>& s) {
  return s ? interval_text(*s) : "–";
}

Table headlines(const std::vector<Record>& records) {
  Table table{.columns = {{"context", Align::right, 9},
                          {"TTFT"},
                          {"TPOT"},
                          {"memory"},
                          {"energy of prefill"},
                          {"prefill bound by", Align::left},
                          {"decode bound by", Align::left}},
              .rows = {}};
  std::string last;
  for (const Record& r : records) {
    const std::string label = fmt::format("{} on {}", r.cell.model, r.cell.device);
    if (label != last) table.rows.push_back({label});
    last = label;
    table.rows.push_back({std::to_string(r.cell.context), absent_or(r.metrics.ttft_s),
                          absent_or(r.metrics.tpot_s), format_bytes(r.memory.predicted.total()),
                          r.prefill_energy ? energy_text(*r.prefill_energy) : "–",
                          r.prefill ? bounds_text(*r.prefill) : r.reason,
                          r.decode ? bounds_text(*r.decode) : "–"});
  }
  return table;
}

// What the table above it is of, and what is known against each device's predictions.
std::string basis_text(const std::vector<Record>& records, const Options& options) {
  const Cell& cell = records.front().cell;
  const bool own = engine_option(options.engine) == EngineModel::own;
  std::string text = fmt::format("{}, batch {}, {} new tokens, chunk {}, {} logits\n",
                                 name(cell.dtype), cell.batch, cell.new_tokens,
                                 own ? options.workload.chunk : "whole", name(cell.logits));
  // What is known against all of a device's predictions, and then against single ones.
  std::map<std::string, std::vector<std::string>> of_all;
  for (const Record& r : records) {
    const auto [device, is_first] = of_all.try_emplace(r.cell.device, r.flags);
    std::erase_if(device->second, [&](const std::string& flag) {
      return std::ranges::find(r.flags, flag) == r.flags.end();
    });
  }
  std::set<std::string> seen;
  const auto add = [&](const std::string& line) {
    if (seen.insert(line).second) text += line;
  };
  for (const Record& r : records)
    add(fmt::format("{}: {}\n", r.cell.device, fmt::join(of_all[r.cell.device], ", ")));
  for (const Record& r : records)
    for (const std::string& flag : r.flags)
      if (std::ranges::find(of_all[r.cell.device], flag) == of_all[r.cell.device].end())
        add(fmt::format("{} at {}: {}\n", r.cell.model, r.cell.context, flag));
  return text;
}

// Scratch is what differs between devices, and only by their kind: each model, kind and context
// once.
Table memory_table(const std::vector<Record>& records, const KindOf& kinds) {
  Table table{.columns = {{"context", Align::right, 9}}, .rows = {}};
  for (const Tag tag : all_tags) table.columns.push_back({std::string(name(tag))});
  std::string last;
  std::set<std::pair<std::string, int64_t>> seen;
  for (const Record& r : records) {
    const bool gpu = kinds.at(r.cell.device) == DeviceKind::gpu;
    const std::string label = fmt::format("{} on a {}", r.cell.model, gpu ? "GPU" : "CPU");
    if (!seen.insert({label, r.cell.context}).second) continue;
    if (label != last) table.rows.push_back({label});
    last = label;
    std::vector<std::string> row = {std::to_string(r.cell.context)};
    for (const Tag tag : all_tags) row.push_back(format_bytes(r.memory.predicted[tag]));
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table operator_table(const OperatorProfile& profile) {
  Table table{.columns = {{"layer"},
                          {"op", Align::left},
                          {"role", Align::left},
                          {"calls"},
                          {"time"},
                          {"interval"},
                          {"bound", Align::left},
                          {"GFLOP/s"},
                          {"GB/s"}},
              .rows = {}};
  for (const OperatorRow& row : profile.rows) {
    const auto ops = static_cast<double>(row.ops),
               bytes = static_cast<double>(row.bytes_read) + static_cast<double>(row.bytes_written);
    // More than a record can hold.
    const bool more = row.ops == std::numeric_limits<int64_t>::max();
    table.rows.push_back(
        {row.layer < 0 ? "-" : std::to_string(row.layer), row.op, std::string(name(row.role)),
         std::to_string(row.calls), time_text(row.time_s),
         fmt::format("{} – {}", time_text(*row.time_low_s), time_text(*row.time_high_s)),
         std::string(name(*row.bound)),
         row.time_s > 0 ? (more ? "> " : "") + number_text(ops / row.time_s / 1e9) : "–",
         row.time_s > 0 ? number_text(bytes / row.time_s / 1e9) : "–"});
  }
  return table;
}

void print(const std::vector<Record>& records, const KindOf& kinds, const Options& options) {
  Style style = style_of(stdout);
  if (style.width > 0) style.width = std::max(style.width, 160);
  fmt::print("{}", render(headlines(records), style));
  fmt::print("\n{}", basis_text(records, options));
  fmt::print("\nmemory\n{}", render(memory_table(records, kinds), style));
  if (!options.operators) return;
  for (const Record& r : records)
    for (const auto& [label, profile] :
         {std::pair("prefill", &r.prefill), std::pair("decode", &r.decode)})
      if (*profile)
        fmt::print("\n{} on {} at {}: {}\n{}", r.cell.model, r.cell.device, r.cell.context, label,
                   render(operator_table(**profile), style));
}

int run(const Options& options) {
  std::vector<std::string> inputs = options.models;
  inputs.insert(inputs.end(), options.devices.begin(), options.devices.end());
  check_outputs({options.json}, inputs, options.store);
  std::vector<ModelSpec> specs;
  for (const std::string& model : options.models) specs.push_back(load_spec(model));
  std::vector<DeviceProfile> profiles;
  for (const std::string& device : options.devices) profiles.push_back(load_profile(device));
  const std::vector<int64_t> contexts = token_list_option("--context", options.context);
  const EngineModel engine = engine_option(options.engine);
  std::optional<Store> store;
  if (!options.store.empty()) store.emplace(options.store, Store::Open::create);
  std::vector<Record> records;
  KindOf kinds;
  for (const ModelSpec& spec : specs)
    for (const DeviceProfile& profile : profiles) {
      kinds[profile.name] = profile.kind;
      for (const int64_t context : contexts)
        records.push_back(predict_record(spec, profile, workload_of(options.workload, context),
                                         {.engine = engine}));
    }
  if (options.json != "-") print(records, kinds, options);
  if (!options.json.empty()) write_records(options.json, records);
  if (store)
    for (const Record& record : records) insert(*store, record);
  return exit_ok;
}

}  // namespace

void add_predict_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "predict", "Predict TTFT, TPOT, memory and energy of models on devices without running them");
  command->add_option("model", options->models, "Preset names, or folders with config.json")
      ->required();
  command
      ->add_option("--on", options->devices,
                   "Device profiles: names that `tidemark devices` lists, or files")
      ->required();
  command->add_option("--context", options->context, "Prompt tokens: 512,2k or 1k..64k*2")
      ->capture_default_str();
  add_workload_options(*command, options->workload);
  command
      ->add_option("--engine-model", options->engine,
                   "own: this program; eager-full: a framework, whole sequence, all logits, a "
                   "kernel for every elementwise operation, each launched by the host, in bf16")
      ->capture_default_str();
  command->add_flag("--ops", options->operators, "Every operator with its bound and interval");
  command->add_option("--json", options->json, "Write records to a file, or -");
  command->add_option("--store", options->store, "Append the records to a store");
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace tidemark
