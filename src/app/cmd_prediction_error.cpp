#include "app/commands.h"
#include "app/options.h"
#include "app/prediction_error.h"
#include "app/report_study.h"
#include "base/error.h"

namespace tidemark {
namespace {

struct Options {
  std::vector<std::string> published, stores, on;
  std::string output = "-";
};

constexpr const char* preamble =
    R"(# How wrong predictions are

Made by `tidemark prediction-error`; docs/prediction.md says how predictions are made and what their
intervals mean. The error is predicted over measured, less one. Medians and worst are of its
magnitude. An order of two models counts where they differ by more than 2 %. Memory has no interval: it
is planned, and what differs is the framework's allocator. The 256 MiB that the first pass of a process
tunes Triton's kernels with (rows of Mamba at 256 tokens) are not predicted.
)";

void append(ErrorTable& into, ErrorTable from) {
  into.rows.insert(into.rows.end(), from.rows.begin(), from.rows.end());
  into.skipped.insert(into.skipped.end(), from.skipped.begin(), from.skipped.end());
}

int run(const Options& options) {
  if (options.published.empty() && options.stores.empty())
    fail("expected --published, --store or both");
  if (options.stores.size() != options.on.size())
    fail("--on: expected a profile for each of {} stores, found {}", options.stores.size(),
         options.on.size());
  std::vector<std::string> inputs = options.published;
  inputs.insert(inputs.end(), options.stores.begin(), options.stores.end());
  inputs.insert(inputs.end(), options.on.begin(), options.on.end());
  check_outputs({options.output}, inputs);
  std::string text = preamble;
  ErrorTable published;
  for (const std::string& file : options.published) append(published, against_published(file));
  if (!options.published.empty())
    text +=
        "\n# Against published measurements\n\nOf a framework (arXiv 2507.12442, artifact), "
        "with datasheet profiles and `--engine-model eager-full`.\n" +
        error_markdown(published);
  for (size_t i = 0; i < options.stores.size(); ++i) {
    std::vector<Record> records = read_study_records(options.stores[i], {});
    std::erase_if(records, [](const Record& r) { return r.source != Source::measured; });
    const DeviceProfile profile = load_profile(options.on[i]);
    text +=
        fmt::format(
            "\n# Against our own measurements: {}\n\nWith the {} profile of {}. Memory is that of "
            "the arenas{}.\n",
            profile.name, name(profile.origin), profile.title,
            profile.kind == DeviceKind::cpu ? ", without scratch" : "") +
        error_markdown(against_records(records, profile));
  }
  write_output(options.output, text);
  return exit_ok;
}

}  // namespace

void add_prediction_error_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "prediction-error", "Compare predictions with measurements, cell by cell, as Markdown");
  command->add_option("--published", options->published,
                      "CSV files of published measurements (tests/data/published)");
  command->add_option("--store", options->stores,
                      "Stores of measurements, or JSON by export --json, each of one device");
  command->add_option("--on", options->on, "Profiles of the devices of the stores, in their order");
  command->add_option("-o,--output", options->output, "File to write, or -")->capture_default_str();
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace tidemark
