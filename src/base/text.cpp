#include "base/text.h"

#include <algorithm>
#include <cctype>

namespace tidemark {

bool equal_without_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

std::string plain_name(std::string_view name) {
  std::string plain;
  for (const unsigned char c : name)
    if (c != ' ' && c != '-' && c != '_') plain += static_cast<char>(std::tolower(c));
  return plain;
}

std::string markdown_cell(std::string_view text) {
  std::string cell;
  for (const char c : text) {
    if (c == '|') cell += '\\';
    cell += c;
  }
  return cell;
}

}  // namespace tidemark
