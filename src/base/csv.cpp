#include "base/csv.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace tidemark {
namespace {

// Runs `body` on a field; what it complains of gets file, line and column in front.
template <class Body>
auto in_field(const Csv& csv, const CsvRow& row, std::string_view column, Body&& body) {
  const std::string& text = text_at(csv, row, column);
  return with_context(fmt::format("{}:{}: {}", csv.file, row.line, column),
                      [&] { return body(text); });
}

// Each takes a field off the front of `text`.
std::string take_plain(std::string_view& text) {
  const size_t end = std::min(text.find_first_of(",\n"), text.size());
  std::string field(text.substr(0, end));
  text.remove_prefix(end);
  if (!text.starts_with(',') && field.ends_with('\r')) field.pop_back();
  return field;
}

std::string take_quoted(std::string_view& text) {
  std::string field;
  for (bool open = true; open;) {
    text.remove_prefix(1);  // the quote
    const size_t quote = text.find('"');
    if (quote == text.npos) fail("expected a closing quote, found none");
    field += text.substr(0, quote);
    text.remove_prefix(quote + 1);
    open = text.starts_with('"');  // two of them stand for one
    if (open) field += '"';
  }
  if (text.starts_with("\r\n") || text == "\r") text.remove_prefix(1);
  if (!text.empty() && text.front() != ',' && text.front() != '\n')
    fail("expected a comma after a closing quote, found '{}'", printable(text.substr(0, 1)));
  return field;
}

// Takes a row off the front of `text`: a line, or several where a quoted field spans them.
std::vector<std::string> take_row(std::string_view& text) {
  std::vector<std::string> fields;
  for (bool more = true; more;) {
    fields.push_back(text.starts_with('"') ? take_quoted(text) : take_plain(text));
    if (!is_utf8(fields.back()))
      fail("expected text in UTF-8, found '{}'", printable(fields.back()));
    more = text.starts_with(',');
    if (!text.empty()) text.remove_prefix(1);  // the comma or the end of the line
  }
  return fields;
}

}  // namespace

std::vector<std::string> split_fields(std::string_view line) {
  std::vector<std::string> fields = take_row(line);
  if (!line.empty()) fail("expected one line, found more");
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
  const std::string text = read_text(file);
  std::string_view rest = text;
  // Spreadsheets begin UTF-8 with a byte order mark.
  if (rest.starts_with("\xEF\xBB\xBF")) rest.remove_prefix(3);
  for (int64_t number = 1; !rest.empty();) {
    const bool says_nothing = rest.starts_with('\n') || rest.starts_with("\r\n") || rest == "\r";
    const std::string_view row = rest;
    auto fields =
        with_context(fmt::format("{}:{}", csv.file, number), [&] { return take_row(rest); });
    if (number == 1) {
      csv.columns = std::move(fields);
    } else if (!says_nothing) {
      if (fields.size() != csv.columns.size())
        fail("{}:{}: expected {} columns, found {}", csv.file, number, csv.columns.size(),
             fields.size());
      csv.rows.push_back({number, std::move(fields)});
    }
    number += std::ranges::count(row.substr(0, row.size() - rest.size()), '\n');
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
