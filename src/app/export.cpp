#include "app/export.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "base/units.h"
#include "report/text.h"

namespace tidemark {
namespace {

std::string csv_field(const Rows::Value& value) {
  if (const auto* number = std::get_if<int64_t>(&value)) return fmt::format("{}", *number);
  if (const auto* number = std::get_if<double>(&value)) return fmt::format("{}", *number);
  if (!std::holds_alternative<std::string>(value)) return "";
  const std::string& text = std::get<std::string>(value);
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

struct MarkdownColumn {
  std::string title;
  std::string (*text)(const Record&);
};

std::string median_text(const std::optional<Summary>& summary) {
  return summary ? time_text(summary->median) : "";
}

// Of the arenas when it ran, else of the plan.
std::string memory_text(const Record& r) {
  const MemoryByTag& memory = r.memory.high_water.value_or(r.memory.predicted);
  return memory.total() > 0 ? format_bytes(memory.total()) : "";
}

const MarkdownColumn markdown_columns[] = {
    {"model", [](const Record& r) { return r.cell.model; }},
    {"device", [](const Record& r) { return r.provenance.device_name; }},
    {"commit", [](const Record& r) { return commit_label(r.provenance); }},
    {"source", [](const Record& r) { return std::string(name(r.source)); }},
    {"dtype", [](const Record& r) { return std::string(name(r.cell.dtype)); }},
    {"batch", [](const Record& r) { return fmt::format("{}", r.cell.batch); }},
    {"new tokens", [](const Record& r) { return fmt::format("{}", r.cell.new_tokens); }},
    {"threads", [](const Record& r) { return fmt::format("{}", r.cell.threads); }},
    {"logits", [](const Record& r) { return std::string(name(r.cell.logits)); }},
    {"memory limit",
     [](const Record& r) {
       return r.cell.memory_limit_bytes > 0 ? format_bytes(r.cell.memory_limit_bytes)
                                            : std::string("none");
     }},
    {"chunk", [](const Record& r) { return fmt::format("{}", r.cell.chunk); }},
    {"context", [](const Record& r) { return fmt::format("{}", r.cell.context); }},
    {"TTFT", [](const Record& r) { return median_text(r.metrics.ttft_s); }},
    {"TPOT", [](const Record& r) { return median_text(r.metrics.tpot_s); }},
    {"memory", memory_text},
    {"outcome", [](const Record& r) {
       return r.reason.empty() ? std::string(name(r.outcome))
                               : fmt::format("{}: {}", name(r.outcome), r.reason);
     }}};
constexpr std::string_view always_shown[] = {"model", "context", "TTFT", "TPOT", "memory"};

}  // namespace

std::string to_csv(const Rows& table) {
  std::string text = fmt::format("{}\n", fmt::join(table.columns, ","));
  for (const auto& row : table.rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) text += ',';
      text += csv_field(row[i]);
    }
    text += '\n';
  }
  return text;
}

std::string to_markdown(std::span<const StoredRecord> records) {
  if (records.empty()) return "No records.\n";
  std::string common, header, rule;
  std::vector<const MarkdownColumn*> shown;
  for (const MarkdownColumn& column : markdown_columns) {
    const std::string first = column.text(records[0].record);
    const bool same = std::all_of(records.begin(), records.end(), [&](const StoredRecord& r) {
      return column.text(r.record) == first;
    });
    const bool always = std::find(std::begin(always_shown), std::end(always_shown), column.title) !=
                        std::end(always_shown);
    if (same && !always) {
      common += fmt::format("{}{} {}", common.empty() ? "" : "; ", column.title, first);
    } else {
      shown.push_back(&column);
      header += fmt::format("| {} ", column.title);
      rule += column.title == "model" || column.title == "outcome" ? "|---" : "|---:";
    }
  }
  std::string text = fmt::format("{}\n\n{}|\n{}|\n", common, header, rule);
  for (const StoredRecord& stored : records) {
    for (const MarkdownColumn* column : shown)
      text += fmt::format("| {} ", printable(markdown_cell(column->text(stored.record))));
    text += "|\n";
  }
  return text;
}

}  // namespace tidemark
