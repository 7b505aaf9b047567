#include "report/figures/figure_text.h"

#include <algorithm>

#include "report/table.h"

namespace tidemark {
namespace {

constexpr int bar_width = 24;

constexpr std::string_view in_seconds = " (s)";

// Seconds are told in the unit that suits them, as in the tables of other commands: a column of
// them has digits to spare at one end and none left at the other.
std::string shown_title(const std::string& title) {
  return title.ends_with(in_seconds) ? title.substr(0, title.size() - in_seconds.size()) : title;
}

std::string cell_text(const JsonValue& value, const std::string& title) {
  if (value.is_null()) return "";
  if (value.is_string()) return printable(value.get<std::string>());
  if (value.is_number_integer()) return fmt::format("{}", value.get<int64_t>());
  const auto number = value.get<double>();
  return title.ends_with(in_seconds) ? time_text(number) : number_text(number);
}

size_t column_named(const DataTable& table, const std::string& title) {
  return static_cast<size_t>(std::ranges::find(table.columns, title) - table.columns.begin());
}

}  // namespace

std::string figure_text(const Figure& figure, const FigureContent& content, const Style& style) {
  std::string text = inked(figure.title, Ink::bold, style) + "\n";
  if (!content.empty.empty()) text += "  " + content.empty + "\n";
  const DataTable& data = content.table;
  if (data.rows.empty()) return text;

  // What is the same in every row is said once; what is absent everywhere, not at all.
  std::vector<size_t> shown;
  std::string common;
  const size_t bar_column = column_named(data, data.bar);
  for (size_t c = 0; c < data.columns.size(); ++c) {
    const bool brief = data.brief.empty() || std::ranges::count(data.brief, data.columns[c]) > 0;
    const std::string first = cell_text(data.rows.front()[c], data.columns[c]);
    const bool same = std::ranges::all_of(
        data.rows, [&](const auto& row) { return cell_text(row[c], data.columns[c]) == first; });
    if (same && !data.rows.front()[c].is_number_float() && data.rows.size() > 1 &&
        c != bar_column) {
      if (brief && !first.empty())
        common += (common.empty() ? "" : "; ") + shown_title(data.columns[c]) + ": " + first;
    } else if (brief) {
      shown.push_back(c);
    }
  }
  if (!common.empty()) text += "  " + inked(common, Ink::dim, style) + "\n";

  double most = 0;
  if (bar_column < data.columns.size())
    for (const auto& row : data.rows)
      if (row[bar_column].is_number()) most = std::max(most, row[bar_column].get<double>());
  Table table;
  for (size_t c : shown) {
    const bool number =
        std::ranges::any_of(data.rows, [&](const auto& row) { return row[c].is_number(); });
    table.columns.push_back({shown_title(data.columns[c]), number ? Align::right : Align::left});
  }
  if (most > 0) table.columns.push_back({"", Align::left});
  for (const auto& row : data.rows) {
    std::vector<std::string> line;
    for (size_t c : shown) line.push_back(cell_text(row[c], data.columns[c]));
    if (most > 0)
      line.push_back(
          row[bar_column].is_number() ? bar(row[bar_column].get<double>() / most, bar_width) : "");
    table.rows.push_back(std::move(line));
  }
  return text + render(table, style);
}

}  // namespace tidemark
