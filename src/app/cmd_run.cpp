#include <cmath>

#include "app/commands.h"
#include "app/measure_model.h"
#include "app/options.h"
#include "base/error.h"
#include "base/say.h"
#include "base/text.h"
#include "report/progress.h"
#include "report/run_report.h"

namespace tidemark {
namespace {

struct Options {
  std::vector<std::string> models;
  std::string context = "512", memory_limit, json, tokens;
  WorkloadOptions workload;
  DeviceOptions device;
  WeightOptions weights;
  double budget_s = 30, threshold = 0.02;
  bool operators = false, no_profile = false, no_energy = false;
};

MeasureRequest request_of(const Options& options, const std::string& model, int64_t context) {
  const Workload workload = workload_of(options.workload, context);
  MeasureRequest request;
  request.cell = {.model = model,
                  .device = options.device.device,
                  .dtype = workload.dtype,
                  .batch = workload.batch,
                  .context = context,
                  .new_tokens = workload.new_tokens,
                  .chunk = workload.chunk,
                  .logits = workload.logits,
                  .threads = options.device.threads};
  if (!options.memory_limit.empty())
    request.cell.memory_limit_bytes = bytes_option("--memory-limit", options.memory_limit);
  request.seed = options.weights.seed;
  request.tokens_file = options.tokens;
  request.energy = !options.no_energy;
  request.options.stopping.time_budget_s = options.budget_s;
  request.options.stopping.threshold = options.threshold;
  if (options.no_profile)
    request.options.prefill_profile_passes = request.options.decode_profile_passes = 0;
  return request;
}

struct Job {
  const Model* model;
  MeasureRequest request;
};

// Everything that is wrong with a request shows here, not after hours of measuring.
std::vector<Job> checked_jobs(const Options& options, const std::vector<Model>& models) {
  const auto expect_from_0 = [](const char* option, double value) {
    if (!(value >= 0) || std::isinf(value))
      fail("{}: expected a number from 0 up, found {}", option, value);
  };
  expect_from_0("--budget", options.budget_s);
  expect_from_0("--threshold", options.threshold);
  if (!is_utf8(options.tokens))  // it stands in the records
    fail("--tokens: expected a name in UTF-8, found '{}'", printable(options.tokens));
  open_backend(options.device.device, options.device.threads, 0);
  std::vector<Job> jobs;
  for (size_t i = 0; i < models.size(); ++i)
    for (const int64_t context : token_list_option("--context", options.context)) {
      const Model& model = models[i];
      const Workload workload = workload_of(options.workload, context);
      build_plan(model.spec, workload);
      if (!options.tokens.empty())
        read_prompt(options.tokens, workload.batch, context, model.spec.vocab);
      jobs.push_back({&model, request_of(options, options.models[i], context)});
    }
  std::vector<std::string> inputs = options.models;
  inputs.push_back(options.tokens);
  check_outputs({options.json}, inputs);
  return jobs;
}

// What was measured is kept whatever happens after it: in a file from cell to cell, on standard
// output, which takes one document, when the run ends or fails.
void measure_all(const Options& options, std::vector<Job> jobs, std::vector<Record>& records) {
  const bool to_stdout = options.json == "-";  // then nothing else may go there
  const Style style = style_of(stdout);
  ProgressBar bar;
  for (Job& job : jobs) {
    job.request.options.progress = [&](const Progress& p) {
      bar.show(fmt::format("[{}/{}] {} {} {}", records.size() + 1, jobs.size(),
                           job.model->spec.name, job.request.cell.context, p.stage),
               p.done);
    };
    records.push_back(measure_model(*job.model, job.request));
    bar.clear();
    if (to_stdout) continue;
    if (records.size() == 1) fmt::print("{}\n", machine_text(records[0].provenance, style));
    fmt::print("{}\n", record_text(records.back(), options.operators, style));
    std::fflush(stdout);
    if (!options.json.empty()) write_records(options.json, records);
  }
  if (!to_stdout && records.size() > 1) fmt::print("{}", comparison_text(records, style));
}

int run(const Options& options) {
  std::vector<Model> models;
  for (const std::string& name : options.models)
    models.push_back(open_model(name, options.weights.synthetic, options.weights.seed));
  std::vector<Record> records;
  try {
    measure_all(options, checked_jobs(options, models), records);
  } catch (...) {
    if (options.json == "-" && !records.empty()) write_records("-", records);
    throw;
  }
  if (options.json == "-") write_records("-", records);
  for (const Record& record : records)
    if (record.outcome != Outcome::ok) {
      say("tidemark: {} at context {}: {}", record.cell.model, record.cell.context, record.reason);
      return exit_error;
    }
  return exit_ok;
}

}  // namespace

void add_run_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "run", "Measure models: TTFT, TPOT, memory by tag, time by operator, as the context grows");
  command->add_option("model", options->models, "Preset names, or folders with config.json")
      ->required();
  command->add_option("--context", options->context, "Prompt tokens: 512,2k or 1k..64k*2")
      ->capture_default_str();
  add_workload_options(*command, options->workload);
  add_device_options(*command, options->device);
  command->add_option("--memory-limit", options->memory_limit,
                      "Memory the model may take, e.g. 8GiB; default: what the machine has");
  add_weight_options(*command, options->weights);
  command->add_option("--tokens", options->tokens,
                      "Prompt ids from a text file: one line, or one per sequence");
  command->add_option("--budget", options->budget_s, "Seconds per model and context for repeats")
      ->capture_default_str();
  command
      ->add_option("--threshold", options->threshold,
                   "Stop when every 95 % interval is this narrow, relative to its median")
      ->capture_default_str();
  command->add_flag("--ops", options->operators, "Every operator, not only categories");
  command->add_flag("--no-profile", options->no_profile, "Skip the operator-level runs");
  command->add_flag(
      "--no-energy", options->no_energy,
      "Skip the energy of a prefill and of a decode step, which takes some six seconds");
  command->add_option("--json", options->json,
                      "Write records with every sample to a file, from cell to cell, or to -");
  // The last value wins, so that a script's defaults can be overridden behind them.
  for (CLI::Option* option : command->get_options())
    if (option->get_name() != "model") option->take_last();
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace tidemark
