// Text that is compared or passed on as it is; numbers and tables for people: report/text.h.
#pragma once

#include <string>
#include <string_view>

namespace tidemark {

// What JSON and a store's text can hold.
bool is_utf8(std::string_view);

// As it is, or where it is not UTF-8 with "\xff" for each byte that is not ASCII.
std::string as_utf8(std::string_view);

// Of ASCII letters.
bool equal_without_case(std::string_view a, std::string_view b);

// A name without what people write differently: in lower case, without spaces, "-" and "_".
std::string plain_name(std::string_view);

// As it may stand in a cell of a Markdown table.
std::string markdown_cell(std::string_view text);

}  // namespace tidemark
