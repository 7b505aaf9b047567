#include "base/csv.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "base/error.h"
#include "base/file.h"

namespace tidemark {
namespace {

// Runs `body` on a field; what it complains of gets file, line and column in front.
template <class Body>
auto in_field(const Csv& csv, const CsvRow& row, std::string_view column, Body&& body) {
  const std::string& text = text_at(csv, row, column);
  return with_context(fmt::format("{}:{}: {}", csv.file, row.line, column),
                      [&] { return body(text); });
}

}  // namespace

std::vector<std::string> split_fields(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  std::vector<std::string> fields(1);
  for (const char c : line) {
    if (c == ',')
      fields.emplace_back();
    else
      fields.back() += c;
  }
  return fields;
}

double parse_number(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    fail("expected a number, found '{}'", printable(text));
  return value;
}

Csv read_csv(const std::filesystem::path& file) {
  Csv csv{.file = file.string()};
  std::istringstream text(read_text(file));
  std::string line;
  for (int64_t number = 1; std::getline(text, line); ++number) {
    if (number == 1) {
      csv.columns = split_fields(line);
      continue;
    }
    if (line.empty() || line == "\r") continue;
    csv.rows.push_back({number, split_fields(line)});
    const size_t found = csv.rows.back().fields.size();
    if (found != csv.columns.size())
      fail("{}:{}: expected {} columns, found {}", csv.file, number, csv.columns.size(), found);
  }
  return csv;
}

bool has_column(const Csv& csv, std::string_view column) {
  return std::ranges::find(csv.columns, column) != csv.columns.end();
}

const std::string& text_at(const Csv& csv, const CsvRow& row, std::string_view column) {
  const auto at = std::ranges::find(csv.columns, column);
  if (at == csv.columns.end()) fail("{}:1: found no column '{}'", csv.file, column);
  return row.fields[static_cast<size_t>(at - csv.columns.begin())];
}

double number_at(const Csv& csv, const CsvRow& row, std::string_view column) {
  return in_field(csv, row, column, parse_number);
}

int64_t integer_at(const Csv& csv, const CsvRow& row, std::string_view column) {
  return in_field(csv, row, column, [](const std::string& text) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
      fail("expected a whole number, found '{}'", printable(text));
    return value;
  });
}

}  // namespace tidemark
