#include "base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace tidemark {

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = [&](size_t at) {
      return i + at < text.size() ? static_cast<unsigned char>(text[i + at]) : 0U;
    };
    const unsigned lead = byte(0);
    const size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    // Neither a longer form than needed, nor half of a surrogate pair, nor beyond Unicode.
    const unsigned least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const unsigned most = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if ((lead >= 0x80 && lead < 0xc2) || lead > 0xf4) return false;
    if (length > 1 && (byte(1) < least || byte(1) > most)) return false;
    for (size_t at = 2; at < length; ++at)
      if (byte(at) < 0x80 || byte(at) > 0xbf) return false;
    i += length;
  }
  return true;
}

std::string as_utf8(std::string_view text) {
  if (is_utf8(text)) return std::string(text);
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte < 0x80 ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned>(byte));
  }
  return out;
}

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
