
#include "app/commands.h"
#include "app/export.h"
#include "app/options.h"
#include "base/error.h"
#include "record/json.h"
#include "report/model_names.h"
#include "store/store.h"

namespace tidemark {
namespace {

struct Options {
  std::string store, out = "-", model, commit;
  bool csv = false, json = false, markdown = false;
};

int export_records(const Options& options) {
  check_outputs({options.out}, {options.store});
  const Store store(options.store);
  Filter filter;
  if (!options.model.empty())
    filter.model = model_meant(options.model, models_of(store)).value_or(options.model);
  if (!options.commit.empty()) filter.commit = options.commit;
  std::string text;
  if (options.json) {
    std::vector<Record> records;
    for (StoredRecord& row : read_records(store, filter)) records.push_back(std::move(row.record));
    text = records_to_json(records).dump(2) + "\n";
  } else if (options.markdown) {
    text = to_markdown(read_records(store, filter));
  } else {
    text = to_csv(read_columns(store, filter));
  }
  write_output(options.out, text);
  return exit_ok;
}

}  // namespace

void add_export_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("export", "Write the records of a store as text");
  command->add_option("store", options->store, "Store of results")->required();
  auto* format = command->add_option_group("format", "One of");
  format->add_flag("--csv", options->csv, "One line per record, every column");
  format->add_flag("--json", options->json, "Whole records, every sample and operator");
  format->add_flag("--md", options->markdown, "A Markdown table");
  format->require_option(1);
  command->add_option("--model", options->model, "Only this model");
  command->add_option("--commit", options->commit, "Only this commit, or its beginning");
  command->add_option("-o,--output", options->out, "File to write; - is standard output")
      ->capture_default_str();
  command->callback([options, &exit_code] { exit_code = export_records(*options); });
}

}  // namespace tidemark
