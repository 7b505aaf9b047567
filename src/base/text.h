// Text that is compared or passed on as it is; numbers and tables for people: report/text.h.
#pragma once

#include <string>
#include <string_view>

namespace tidemark {

// Of ASCII letters.
bool equal_without_case(std::string_view a, std::string_view b);

// As it may stand in a cell of a Markdown table.
std::string markdown_cell(std::string_view text);

}  // namespace tidemark
