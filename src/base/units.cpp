#include "base/units.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/error.h"

namespace tidemark {
namespace {

constexpr int64_t max_tokens = int64_t{1} << 40;
constexpr size_t max_list = 10'000;

struct Unit {
  std::string_view name;
  double size;
};
constexpr std::array<Unit, 5> byte_units = {
    {{"B", 1}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}}};
constexpr std::array<Unit, 5> count_units = {
    {{"", 1}, {" k", 1e3}, {" M", 1e6}, {" G", 1e9}, {" T", 1e12}}};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

}  // namespace

int64_t parse_bytes(std::string_view text) {
  const std::string_view whole = trimmed(text);
  double number = 0;
  const auto [end, error] =
      std::from_chars(whole.data(), whole.data() + whole.size(), number, std::chars_format::fixed);
  const std::string_view suffix = trimmed(whole.substr(static_cast<size_t>(end - whole.data())));
  for (const Unit& unit : byte_units) {
    const bool named = suffix == unit.name || (suffix.empty() && unit.size == 1);
    const double bytes = number * unit.size;
    if (error == std::errc() && named && bytes >= 0 && bytes < 0x1p62 && bytes == std::floor(bytes))
      return static_cast<int64_t>(bytes);
  }
  fail("size: expected a number with B, KiB, MiB, GiB or TiB, found '{}'", printable(text));
}

int64_t parse_tokens(std::string_view text) {
  const std::string_view whole = trimmed(text);
  int64_t number = 0;
  const auto [end, error] = std::from_chars(whole.data(), whole.data() + whole.size(), number);
  const std::string_view suffix = whole.substr(static_cast<size_t>(end - whole.data()));
  int64_t unit = 0;
  if (suffix.empty()) unit = 1;
  if (suffix == "k" || suffix == "K") unit = 1 << 10;
  if (suffix == "m" || suffix == "M") unit = 1 << 20;
  if (error != std::errc() || unit == 0 || number < 1 || number > max_tokens / unit)
    fail("tokens: expected a number of at least 1 such as 512 or 8k, found '{}'", printable(text));
  return number * unit;
}

std::vector<int64_t> parse_token_list(std::string_view text) {
  std::vector<int64_t> list;
  const auto add = [&](int64_t tokens) {
    if (std::ranges::find(list, tokens) == list.end()) list.push_back(tokens);
    if (list.size() > max_list)
      fail("tokens: expected at most {} values, found more in '{}'", max_list, printable(text));
  };
  for (size_t begin = 0; begin <= text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    const std::string_view item = text.substr(begin, comma - begin);
    begin = comma + 1;
    const size_t dots = item.find("..");
    if (dots == item.npos) {
      add(parse_tokens(item));
      continue;
    }
    const size_t step_at = item.find_first_of("*+", dots);
    if (step_at == item.npos)
      fail("tokens: expected a range with a step, such as 1k..64k*2 or 1k..8k+1k, found '{}'",
           printable(item));
    const int64_t first = parse_tokens(item.substr(0, dots));
    const int64_t last = parse_tokens(item.substr(dots + 2, step_at - dots - 2));
    const int64_t step = parse_tokens(item.substr(step_at + 1));
    const bool multiplies = item[step_at] == '*';
    if (last < first || (multiplies && step < 2))
      fail("tokens: expected a range that grows, found '{}'", printable(item));
    for (int64_t tokens = first; tokens <= last;) {
      add(tokens);
      if (multiplies && tokens > last / step) break;
      tokens = multiplies ? tokens * step : tokens + step;
    }
  }
  return list;
}

std::string format_bytes(int64_t bytes, std::string_view most) {
  const auto number = static_cast<double>(bytes);
  size_t unit = 0;
  // In the next unit where two decimals would round to 1024.00.
  const auto too_large = [&] { return std::abs(number) / byte_units[unit].size >= 1023.995; };
  while (unit + 1 < byte_units.size() && byte_units[unit].name != most && too_large()) ++unit;
  if (unit == 0) return fmt::format("{} B", bytes);
  return fmt::format("{:.2f} {}", number / byte_units[unit].size, byte_units[unit].name);
}

std::string format_count(double count) {
  size_t unit = 0;
  while (unit + 1 < count_units.size() && std::abs(count) >= count_units[unit + 1].size) ++unit;
  if (unit == 0) return fmt::format("{:.4g}", count);
  return fmt::format("{:.2f}{}", count / count_units[unit].size, count_units[unit].name);
}

std::string format_tokens(int64_t tokens) {
  if (tokens >= 1 << 20 && tokens % (1 << 20) == 0) return fmt::format("{}m", tokens >> 20);
  if (tokens >= 1 << 10 && tokens % (1 << 10) == 0) return fmt::format("{}k", tokens >> 10);
  return fmt::format("{}", tokens);
}

}  // namespace tidemark
