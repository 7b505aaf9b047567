// run-cell: hidden; what a sweep starts for every cell. One line of JSON with the record as it is
// known at the start, and one with the result.
#include <unistd.h>

#include <cstdio>

#include "app/commands.h"
#include "app/measure_cell.h"
#include "app/options.h"
#include "base/error.h"
#include "record/json.h"

namespace tidemark {
namespace {

struct Options {
  Cell cell{};
  MeasureSettings settings{};
  std::string dtype = "f32", logits = "last";
  bool no_operators = false, no_energy = false;
};

int run_cell(Options options) {
  options.cell.dtype = dtype_option(options.dtype);
  options.cell.logits = logits_option(options.logits);
  options.settings.operators = !options.no_operators;
  options.settings.energy = !options.no_energy;
  // Records alone go to standard output; what a library prints there goes to standard error.
  std::FILE* records = fdopen(dup(STDOUT_FILENO), "w");
  if (!records) fail("standard output: cannot write to it");
  dup2(STDERR_FILENO, STDOUT_FILENO);
  const auto write = [&](const Record& record) {
    fmt::print(records, "{}\n", to_json(record).dump());
    std::fflush(records);
  };
  write(measure_cell(options.cell, options.settings, write));
  std::fclose(records);
  return exit_ok;
}

}  // namespace

void add_run_cell_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  Cell& cell = options->cell;
  cell.device = "cpu";
  CLI::App* command = app.add_subcommand("run-cell", "Measure one cell, for a sweep");
  command->group("");
  command->add_option("model", cell.model)->required();
  command->add_option("--device", cell.device);
  command->add_option("--dtype", options->dtype);
  command->add_option("--batch", cell.batch);
  command->add_option("--context", cell.context)->required();
  command->add_option("--new-tokens", cell.new_tokens);
  command->add_option("--chunk", cell.chunk)->required();
  command->add_option("--logits", options->logits);
  command->add_option("--threads", cell.threads);
  command->add_option("--memory-limit", cell.memory_limit_bytes);
  command->add_option("--budget", options->settings.budget_s);
  command->add_option("--seed", options->settings.seed);
  command->add_flag("--synthetic", options->settings.synthetic);
  command->add_flag("--no-operators", options->no_operators);
  command->add_flag("--no-energy", options->no_energy);
  command->callback([options, &exit_code] { exit_code = run_cell(*options); });
}

}  // namespace tidemark
