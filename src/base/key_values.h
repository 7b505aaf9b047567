// Text files of "key SEPARATOR value" lines, as /proc and /etc/os-release have them.
#pragma once

#include <string_view>

namespace tidemark {

inline std::string_view without_blanks(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n\"";
  const size_t first = text.find_first_not_of(blank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

// Calls `found(key, value)` for every "key SEPARATOR value" line.
template <class Found>
void for_each_pair(std::string_view text, char separator, Found found) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    if (const size_t at = line.find(separator); at != std::string_view::npos)
      found(without_blanks(line.substr(0, at)), without_blanks(line.substr(at + 1)));
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

}  // namespace tidemark
