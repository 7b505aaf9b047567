#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/options.h"
#include "app/report_study.h"
#include "base/error.h"
#include "base/file.h"
#include "report/figures/figure.h"
#include "report/figures/figure_text.h"
#include "report/html.h"
#include "report/model_names.h"
#include "report/summary.h"
#include "report/trace.h"
#include "sweep/child.h"

namespace tidemark {
namespace {

constexpr size_t most_terminal_rows = 60;

struct Options {
  std::string records, output, figure, svg, vega, commit, accuracy, title, web;
  std::string memory = "24GiB";  // of the card that arXiv 2507.12442 measured on
  std::vector<std::string> traces, ceilings, same_devices;
};

Study read_study(const Options& options) {
  Study study;
  study.title = options.title.empty()
                    ? "Tidemark: " + std::filesystem::path(options.records).stem().string()
                    : options.title;
  study.records = read_study_records(options.records, options.commit);
  const auto shown = [&](const char* figure) {
    return options.figure.empty() || options.figure == figure;
  };
  if (shown("limits"))  // planned with the backends that are here, whatever machine measured
    study.limits = limits_of(study.records, bytes_option("--memory", options.memory));
  tell_machines_apart(study.records);
  if (shown("crossovers")) study.crossovers = crossovers_of(study.records);
  if (!options.accuracy.empty()) study.accuracies = read_accuracies(options.accuracy);
  for (const std::string& text : options.ceilings) study.ceilings.push_back(parse_ceiling(text));
  for (const std::string& text : options.same_devices)
    study.same_devices.push_back(parse_same_device(text));
  for (const std::string& file : options.traces)
    with_context(file, [&] {
      nlohmann::ordered_json json;
      try {
        json = nlohmann::ordered_json::parse(read_text(file));
      } catch (const nlohmann::ordered_json::parse_error& error) {
        fail("expected a trace in JSON, found {}", error.what());
      }
      for (MemoryTimeline& timeline : memory_from_trace(json))
        study.timelines.push_back(std::move(timeline));
    });
  return study;
}

// Where the page's files are: as told, installed beside the program, or in the source folder.
std::filesystem::path web_folder(const Options& options) {
  if (!options.web.empty()) return find_web_folder(std::array{std::filesystem::path(options.web)});
  const auto program = std::filesystem::read_symlink("/proc/self/exe");
  return find_web_folder(std::array{program.parent_path().parent_path() / "share/tidemark/web",
                                    std::filesystem::path(TIDEMARK_WEB_DIR)});
}

std::string svg_of(const nlohmann::ordered_json& spec, const std::filesystem::path& web) {
  load_web_assets(web);  // says what is missing
  std::string file = (std::filesystem::temp_directory_path() / "tidemark-XXXXXX").string();
  const int descriptor = mkstemp(file.data());
  if (descriptor < 0) fail("{}: cannot create it", file);
  close(descriptor);
  write_output(file, spec.dump());
  const StopRequests nobody_stops = 0;
  const ChildResult result =
      run_child({"/usr/bin/env", "node", (web / "svg.cjs").string(), file}, {}, nobody_stops);
  std::filesystem::remove(file);
  constexpr int not_found = 127;  // env's word for a program that is not there
  if (result.end == ChildEnd::exited && result.status == not_found)
    fail("--svg: needs node to draw with (Debian, Ubuntu: apt-get install nodejs)");
  if (result.end != ChildEnd::exited || result.status != 0)
    fail("--svg: node could not draw it: {}", result.error_tail);
  return result.output;
}

int report_figure(const Options& options, const Study& study) {
  const Figure& figure = figure_named(options.figure);
  const FigureContent content = figure.make(study);
  if (options.svg.empty() && options.vega.empty()) {
    fmt::print("{}", figure_text(figure, content, style_of(stdout)));
    return exit_ok;
  }
  if (content.spec.is_null()) fail("--figure {}: nothing to draw: {}", figure.id, content.empty);
  if (!options.vega.empty()) write_output(options.vega, content.spec.dump(1) + "\n");
  if (!options.svg.empty()) write_output(options.svg, svg_of(content.spec, web_folder(options)));
  return exit_ok;
}

// `all`: what shows the rows for which there is no room here.
void print_table(const Figure& figure, FigureContent content, const std::string& all) {
  const size_t rows = content.table.rows.size();
  if (rows > most_terminal_rows) content.table.rows.resize(most_terminal_rows);
  fmt::print("{}", figure_text(figure, content, style_of(stdout)));
  if (rows > most_terminal_rows)
    fmt::print("  ... and {} rows more: {}\n", rows - most_terminal_rows, all);
  fmt::print("\n");
}

// The head of the page, then its figures.
void print_study(const Study& study) {
  StudySummary summary = summarize(study);
  for (const std::string& line : summary.lines) fmt::print("{}\n", line);
  fmt::print("\n");
  const auto print_list = [](const char* title, DataTable& table) {
    if (table.rows.empty()) return;
    const Figure list{.id = "", .title = title, .how = "", .make = nullptr};
    print_table(list, {.table = std::move(table)}, "export, or a page with -o");
  };
  print_list("Cells without a result, and why", summary.failures);
  print_list("Results marked by clock, throttling or temperature", summary.flagged);
  for (const Figure& figure : all_figures())
    print_table(figure, figure.make(study), fmt::format("--figure {}", figure.id));
}

int run(const Options& options) {
  if ((!options.svg.empty() || !options.vega.empty()) && options.figure.empty())
    fail("--svg and --vega need --figure NAME");
  if (!options.figure.empty()) figure_named(options.figure);
  std::vector<std::string> inputs = options.traces;
  inputs.insert(inputs.end(), {options.records, options.accuracy});
  check_outputs({options.output, options.svg, options.vega}, inputs);
  const Study study = read_study(options);
  if (!options.figure.empty()) return report_figure(options, with_short_model_names(study));
  if (options.output.empty()) {
    print_study(with_short_model_names(study));
    return exit_ok;
  }
  write_output(options.output, html_report(study, load_web_assets(web_folder(options))));
  if (options.output != "-")
    fmt::print("{}: {} records; open it in a browser\n", options.output, study.records.size());
  return exit_ok;
}

std::string figure_names() {
  std::string names;
  for (const Figure& figure : all_figures())
    names += (names.empty() ? "" : ", ") + std::string(figure.id);
  return names;
}

}  // namespace

void add_report_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "report", "Show a study: a page of figures, one figure for a paper, or tables");
  command
      ->add_option("records", options->records,
                   "A store of results, or JSON by run --json or export --json")
      ->required();
  command->add_option("-o,--output", options->output,
                      "Write one self-contained HTML page; without it, tables are printed");
  command->add_option("--figure", options->figure, "One figure only: " + figure_names());
  command->add_option("--svg", options->svg, "With --figure: draw it to a file, or - (needs node)");
  command->add_option("--vega", options->vega,
                      "With --figure: write its Vega-Lite specification to a file, or -");
  command->add_option("--commit", options->commit, "Only records of this commit of Tidemark");
  command
      ->add_option("--memory", options->memory,
                   "Budget to plan the longest contexts under, beside the limits of the records")
      ->capture_default_str();
  command->add_option("--accuracy", options->accuracy, "CSV file of model,task,score");
  command->add_option("--trace", options->traces, "A trace whose memory to draw; repeatable")
      ->take_all();
  command
      ->add_option("--ceiling", options->ceilings,
                   "Limits for the roofline as DEVICE,DTYPE,GFLOP/s,GB/s; repeatable")
      ->delimiter('\0')
      ->take_all();
  command
      ->add_option("--same-device", options->same_devices,
                   "MACHINE=DEVICE: a machine as its records name it, and the device that it is as "
                   "predict --on names it; repeatable")
      ->delimiter('\0')
      ->take_all();
  command->add_option("--title", options->title, "Of the page; default: the file's name");
  command->add_option("--web", options->web, "Folder of the page's files, were it elsewhere");
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace tidemark
