// Aligned text tables.
#pragma once

#include <string>
#include <vector>

#include "report/text.h"

namespace tidemark {

enum class Align { left, right };

struct Column {
  std::string title;
  Align align = Align::right;
  int min_width = 0;
};

struct Table {
  std::vector<Column> columns;
  // A row without cells is drawn as a rule; a row of one cell runs across the columns as a title.
  std::vector<std::vector<std::string>> rows;
  int indent = 2;
};

// Header, rule, rows; two spaces between columns, none at the end of a line. When it is wider than
// the style, left-aligned columns are clipped, the widest first; numbers never are.
std::string render(const Table&, const Style&);

}  // namespace tidemark
