#include "report/table.h"

#include <algorithm>
#include <numeric>

namespace tidemark {
namespace {

constexpr int min_clipped_width = 8;

std::vector<int> column_widths(const Table& table, const Style& style) {
  std::vector<int> widths;
  for (size_t c = 0; c < table.columns.size(); ++c) {
    int width = std::max(table.columns[c].min_width, display_width(table.columns[c].title));
    for (const auto& row : table.rows)
      if (row.size() > 1 && c < row.size()) width = std::max(width, display_width(row[c]));
    widths.push_back(width);
  }
  if (style.width == 0) return widths;
  const int gaps = table.indent + 2 * (static_cast<int>(widths.size()) - 1);
  for (;;) {
    int excess = std::accumulate(widths.begin(), widths.end(), gaps) - style.width;
    if (excess <= 0) return widths;
    // The widest left-aligned column gives way, down to the next widest of them.
    int widest = -1, second = min_clipped_width;
    for (size_t c = 0; c < widths.size(); ++c) {
      if (table.columns[c].align != Align::left || widths[c] <= min_clipped_width) continue;
      if (widest < 0 || widths[c] > widths[static_cast<size_t>(widest)]) {
        if (widest >= 0) second = widths[static_cast<size_t>(widest)];
        widest = static_cast<int>(c);
      } else {
        second = std::max(second, widths[c]);
      }
    }
    if (widest < 0) return widths;
    int& width = widths[static_cast<size_t>(widest)];
    width -= std::clamp(width - second, 1, excess);
  }
}

}  // namespace

std::string render(const Table& table, const Style& style) {
  const std::vector<int> widths = column_widths(table, style);
  const std::string indent(static_cast<size_t>(table.indent), ' ');
  std::string out;

  const auto line = [&](auto cell_text) {
    std::string text = indent;
    for (size_t c = 0; c < widths.size(); ++c) {
      const std::string cell = clipped(cell_text(c), widths[c]);
      const auto pad = static_cast<size_t>(std::max(0, widths[c] - display_width(cell)));
      if (c > 0) text += "  ";
      if (table.columns[c].align == Align::right)
        text += std::string(pad, ' ') + cell;
      else
        text += cell + std::string(pad, ' ');
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  };
  const auto rule = [&] {
    const int width = std::accumulate(widths.begin(), widths.end(), 0) +
                      2 * (static_cast<int>(widths.size()) - 1);
    std::string text;
    for (int i = 0; i < width; ++i) text += "─";
    out += indent + inked(text, Ink::dim, style) + "\n";
  };

  line([&](size_t c) { return inked(table.columns[c].title, Ink::dim, style); });
  rule();
  for (const auto& row : table.rows) {
    if (row.empty())
      rule();
    else if (row.size() == 1)
      out += indent + row[0] + "\n";
    else
      line([&](size_t c) { return c < row.size() ? row[c] : std::string(); });
  }
  return out;
}

}  // namespace tidemark
