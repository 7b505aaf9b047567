#include <algorithm>
#include <cmath>
#include <optional>

#include "app/calibrate.h"
#include "app/commands.h"
#include "app/options.h"
#include "base/error.h"
#include "base/quantile.h"
#include "base/say.h"
#include "report/table.h"
#include "store/store.h"

namespace tidemark {
namespace {

struct Options {
  std::string device = "cpu", output = "-", store, from;
  int threads = 0;
  double budget_s = 4;
};

std::string ratios_text(std::vector<double> ratios) {
  if (ratios.empty()) return "no passes";
  for (double& r : ratios) r = std::abs(r - 1);
  return fmt::format("{} passes, median error {:.1f} %, worst {:.1f} %", ratios.size(),
                     100 * median(ratios), 100 * *std::max_element(ratios.begin(), ratios.end()));
}

std::vector<Record> records(const Options& options) {
  std::vector<Record> found;
  if (!options.from.empty()) {
    for (StoredRecord& row : read_records(Store(options.from), {.source = Source::measured}))
      found.push_back(std::move(row.record));
    return found;
  }
  std::optional<Store> store;  // opened before the measuring, which takes its time
  if (!options.store.empty()) store.emplace(options.store, Store::Open::create);
  found = measure_grid({.device = options.device,
                        .threads = options.threads,
                        .budget_s = options.budget_s,
                        .progress = [](const std::string& what) { say("{}", what); }});
  if (store)
    for (const Record& record : found) insert(*store, record);
  return found;
}

int run(const Options& options) {
  check_outputs({options.output}, {options.from}, options.store);
  const Calibration c = fit_records(records(options));
  if (options.output != "-") {
    Table table{.columns = {{"kernels", Align::left}, {"error", Align::right}, {"", Align::left}},
                .rows = {}};
    for (int i = 0; i < kernel_class_count; ++i) {
      const auto kind = static_cast<KernelClass>(i);
      const Efficiency& e = c.profile.of(kind);
      table.rows.push_back(
          {std::string(name(kind)), fmt::format("{:.1f} %", 100 * e.error), e.source});
    }
    Style style = style_of(stdout);
    style.width = std::max(style.width, 150);
    fmt::print("{}\n{} kernels timed\n\n{}\nown passes, prefill: {}\nown passes, decode: {}\n",
               c.profile.title, c.samples, render(table, style), ratios_text(c.prefill_ratios),
               ratios_text(c.decode_ratios));
  }
  write_output(options.output, profile_text(c.profile));
  return exit_ok;
}

}  // namespace

void add_calibrate_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "calibrate", "Time kernels on this machine and write the device profile that fits them");
  command->add_option("--device", options->device, "cpu, or cuda:0")->capture_default_str();
  command->add_option("--threads", options->threads, "CPU threads; 0: all cores")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  command->add_option("--budget", options->budget_s, "Seconds per model, context and chunk length")
      ->check(CLI::Range(0.01, 3600.0))
      ->capture_default_str();
  command->add_option("--store", options->store, "Keep what was measured in a store");
  command->add_option("--from", options->from, "Fit to what such a store holds, measure nothing");
  command->add_option("-o,--output", options->output, "Profile to write, or -")
      ->capture_default_str();
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace tidemark
