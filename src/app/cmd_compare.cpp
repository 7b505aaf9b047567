#include <nlohmann/json.hpp>

#include "app/cell_text.h"
#include "app/commands.h"
#include "app/compare.h"
#include "base/error.h"
#include "base/units.h"
#include "report/table.h"
#include "store/store.h"

namespace tidemark {
namespace {

struct Options {
  std::string a, b;
  double threshold_percent = 5;
  bool json = false, changes = false;
};

// "results.sqlite", or "results.sqlite@COMMIT" with the beginning of a commit.
std::vector<StoredRecord> side(const std::string& text) {
  std::string path = text;
  std::optional<std::string> commit;
  // A file may have an '@' in its name.
  const size_t at = text.rfind('@');
  if (at != std::string::npos && !std::filesystem::exists(text)) {
    path = text.substr(0, at);
    commit = text.substr(at + 1);
  }
  const Store store(path);
  std::vector<std::string> fitting;
  for (const std::string& label : commits(store))
    if (!commit || label.starts_with(*commit)) fitting.push_back(label);
  if (commit)  // "abc" is that commit, though "abc-dirty" begins with it too
    for (const std::string& label : fitting)
      if (label == *commit) fitting = {label};
  if (fitting.size() != 1)
    fail("{}: expected one commit, found {}: {}; say which as {}@COMMIT", text, fitting.size(),
         fmt::join(fitting.empty() ? commits(store) : fitting, ", "), path);
  return read_records(store, {.commit = fitting.front(), .source = Source::measured});
}

std::string value_text(const MetricComparison& c, double value) {
  if (c.metric == "outcome") return "";
  if (c.metric == "memory") return format_bytes(static_cast<int64_t>(value));
  if (c.metric.ends_with("energy")) return number_text(value) + " J";
  return time_text(value);
}

Ink ink_of(Verdict verdict) {
  if (verdict == Verdict::worse) return Ink::red;
  return verdict == Verdict::better ? Ink::green : Ink::dim;
}

void print_table(const Comparison& comparison, bool changes_only) {
  const Style style = style_of(stdout);
  Table table;
  table.columns = {{"cell", Align::left},
                   {"context"},
                   {"metric", Align::left},
                   {"A"},
                   {"B"},
                   {"B / A"},
                   {"95 %"},
                   {"p"},
                   {"", Align::left}};
  for (const MetricComparison& c : comparison.metrics) {
    if (changes_only && c.verdict == Verdict::same) continue;
    const bool exact = c.metric == "memory", outcome = c.metric == "outcome";
    std::string verdict = inked(name(c.verdict), ink_of(c.verdict), style);
    if (!c.note.empty()) verdict += " (" + c.note + ")";
    table.rows.push_back({cell_text(c.cell, false), format_tokens(c.cell.context), c.metric,
                          value_text(c, c.a), value_text(c, c.b),
                          outcome ? "" : fmt::format("{:.3f}", c.ratio),
                          outcome || exact ? "" : fmt::format("{:.3f} - {:.3f}", c.low, c.high),
                          outcome || exact ? "" : fmt::format("{:.2g}", c.p), verdict});
  }
  if (!table.rows.empty()) fmt::print("{}", render(table, style));
}

nlohmann::ordered_json to_json(const Comparison& comparison, const CompareOptions& options) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const MetricComparison& c : comparison.metrics) {
    nlohmann::ordered_json row = {{"cell", cell_key(c.cell)}, {"metric", c.metric}};
    if (c.metric != "outcome") {
      row["a"] = c.a;
      row["b"] = c.b;
      row["ratio"] = c.ratio;
      row["ratio_low"] = c.low;
      row["ratio_high"] = c.high;
      row["p_adjusted"] = c.p;
      row["samples_a"] = c.samples_a;
      row["samples_b"] = c.samples_b;
    }
    row["verdict"] = name(c.verdict);
    if (!c.note.empty()) row["note"] = c.note;
    rows.push_back(std::move(row));
  }
  return {{"threshold", options.threshold},  {"significance", options.significance},
          {"worse", comparison.any_worse()}, {"only_a", comparison.only_a},
          {"only_b", comparison.only_b},     {"other_machines", comparison.other_machines},
          {"comparisons", std::move(rows)}};
}

int run(const Options& options) {
  if (!(options.threshold_percent >= 0))
    fail("--threshold: expected a percentage from 0 up, found {}", options.threshold_percent);
  const CompareOptions compare_options{.threshold = options.threshold_percent / 100};
  const Sides sides = sides_of(side(options.a), side(options.b));
  const Comparison comparison = compare(sides.a, sides.b, compare_options);
  if (options.json) {
    fmt::print("{}\n", to_json(comparison, compare_options).dump(2));
  } else {
    for (const std::string& other : comparison.other_machines) fmt::print("{}\n", other);
    print_table(comparison, options.changes);
    int64_t worse = 0, better = 0;
    for (const MetricComparison& c : comparison.metrics) {
      worse += c.verdict == Verdict::worse ? 1 : 0;
      better += c.verdict == Verdict::better ? 1 : 0;
    }
    fmt::print("{} comparisons: {} worse, {} better by more than {:g} %", comparison.metrics.size(),
               worse, better, options.threshold_percent);
    if (comparison.only_a + comparison.only_b > 0)
      fmt::print("; {} cells only in A, {} only in B", comparison.only_a, comparison.only_b);
    fmt::print("\n");
  }
  return comparison.any_worse() ? exit_negative : exit_ok;
}

}  // namespace

void add_compare_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "compare", "Compare measurements cell by cell; exit 1 when the second are worse");
  command->add_option("A", options->a, "Baseline: a store, or STORE@COMMIT")->required();
  command->add_option("B", options->b, "What is judged: a store, or STORE@COMMIT")->required();
  command
      ->add_option("--threshold", options->threshold_percent,
                   "Percent of change that is not worth a word")
      ->capture_default_str();
  command->add_flag("--changes", options->changes, "Only rows that are worse or better");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace tidemark
