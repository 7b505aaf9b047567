#include "report/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/units.h"
#include "report/figures/series.h"

namespace tidemark {
namespace {

std::string plural(size_t count, const std::string& noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

// Everything of a provenance but the moment.
std::vector<JsonValue> machine_row(const Record& r) {
  const Provenance& p = r.provenance;
  return {name(r.source),
          r.cell.device,
          p.device_name,
          p.cpu,
          p.isa,
          p.threads > 0 ? JsonValue(p.threads) : JsonValue(nullptr),
          p.memory_bytes > 0 ? JsonValue(format_bytes(p.memory_bytes)) : JsonValue(nullptr),
          p.os,
          fmt::format("{}", fmt::join(p.libraries, ", ")),
          p.compiler,
          p.version,
          p.commit + (p.dirty ? ", changed" : ""),
          r.weights,
          r.prompt};
}

DataTable machine_table(const Study& study) {
  struct Seen {
    size_t records = 0;
    std::string first, last;
  };
  std::map<std::vector<JsonValue>, Seen> machines;
  for (const Record& r : study.records) {
    Seen& seen = machines[machine_row(r)];
    ++seen.records;
    const std::string& date = r.provenance.date;
    if (seen.first.empty() || date < seen.first) seen.first = date;
    seen.last = std::max(seen.last, date);
  }
  DataTable table{.columns = {"Source", "Device", "Device name", "CPU", "ISA", "Threads", "Memory",
                              "System", "Libraries", "Compiler", "Tidemark", "Commit", "Weights",
                              "Prompt", "Records", "First", "Last"}};
  for (const auto& [row, seen] : machines) {
    table.rows.push_back(row);
    table.rows.back().insert(table.rows.back().end(), {seen.records, seen.first, seen.last});
  }
  return table;
}

}  // namespace

StudySummary summarize(const Study& study) {
  const Configurations configurations(study);
  StudySummary summary{
      .machines = machine_table(study),
      .failures = {.columns = {"Model", "Configuration", "Context (tokens)", "Outcome", "Reason"}},
      .flagged = {.columns = {"Model", "Configuration", "Context (tokens)", "Flags"}}};
  std::map<std::string_view, size_t> outcomes;
  std::set<std::string> devices;
  size_t measured = 0, predicted = 0;
  for (const Record& r : study.records) {
    devices.insert(r.cell.device);
    if (r.outcome == Outcome::ok)
      ++(r.source == Source::measured ? measured : predicted);
    else
      ++outcomes[name(r.outcome)];
    const std::string configuration = configurations.of(r.cell);
    if (r.outcome != Outcome::ok)
      summary.failures.rows.push_back(
          {r.cell.model, configuration, r.cell.context, name(r.outcome), r.reason});
    if (!r.flags.empty())
      summary.flagged.rows.push_back({r.cell.model, configuration, r.cell.context,
                                      fmt::format("{}", fmt::join(r.flags, ", "))});
  }
  std::string counts = fmt::format("{} measured", measured);
  if (predicted > 0) counts += fmt::format(", {} predicted", predicted);
  for (const auto& [outcome, count] : outcomes) {
    std::string words(outcome);
    std::replace(words.begin(), words.end(), '_', ' ');
    counts += fmt::format(", {} {}", count, words);
  }
  summary.lines.push_back(fmt::format("{} of {} on {}: {}.", plural(study.records.size(), "result"),
                                      plural(model_names(study).size(), "model"),
                                      fmt::join(devices, ", "), counts));
  if (const int64_t superseded = superseded_records(study); superseded > 0)
    summary.lines.push_back(fmt::format(
        "{} of a cell that has a newer one; figures and their tables show the newest of each cell, "
        "the downloads all.",
        plural(static_cast<size_t>(superseded), "result")));
  return summary;
}

}  // namespace tidemark
