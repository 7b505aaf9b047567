#include "base/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace tidemark {
namespace {

struct Unit {
  std::string_view name;
  int64_t factor;
};

// A number with one of `units` behind it; the number may have decimals when the unit has a name.
int64_t parse_with_units(std::string_view what, std::string_view text, auto units,
                         std::string_view expected) {
  double value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit(rest, static_cast<size_t>(text.data() + text.size() - rest));
  if (error == std::errc() && value >= 0)
    for (const Unit& u : units) {
      if (u.name != unit) continue;
      const double product = value * static_cast<double>(u.factor);
      if (product > 9e18 || product != std::floor(product)) break;
      return static_cast<int64_t>(product);
    }
  fail("{}: expected {}, found '{}'", what, expected, text);
}

}  // namespace

int64_t parse_size(std::string_view what, std::string_view text) {
  constexpr int64_t kib = 1024;
  constexpr std::array<Unit, 10> units = {{{"", 1},
                                           {"B", 1},
                                           {"KiB", kib},
                                           {"MiB", kib * kib},
                                           {"GiB", kib * kib * kib},
                                           {"TiB", kib * kib * kib * kib},
                                           {"KB", 1000},
                                           {"MB", 1000000},
                                           {"GB", 1000000000},
                                           {"TB", 1000000000000}}};
  return parse_with_units(what, text, units, "a size such as 24GiB");
}

int64_t parse_count(std::string_view what, std::string_view text) {
  constexpr std::array<Unit, 5> units = {
      {{"", 1}, {"k", 1024}, {"K", 1024}, {"m", 1048576}, {"M", 1048576}}};
  return parse_with_units(what, text, units, "a count such as 512 or 8k");
}

std::vector<int64_t> parse_counts(std::string_view what, std::string_view text) {
  std::vector<int64_t> counts;
  while (true) {
    const size_t comma = text.find(',');
    const std::string_view item = text.substr(0, comma);
    const size_t dots = item.find("..");
    if (dots == std::string_view::npos) {
      counts.push_back(parse_count(what, item));
    } else {
      const size_t step_at = item.find_first_of("*+", dots);
      if (step_at == std::string_view::npos)
        fail("{}: expected a range with its step, such as 1k..64k*2 or 1k..4k+1k, found '{}'", what,
             item);
      const int64_t first = parse_count(what, item.substr(0, dots));
      const int64_t last = parse_count(what, item.substr(dots + 2, step_at - dots - 2));
      const int64_t step = parse_count(what, item.substr(step_at + 1));
      const bool multiply = item[step_at] == '*';
      if (first < 1 || last < first || step < (multiply ? 2 : 1))
        fail("{}: expected a range that grows, found '{}'", what, item);
      for (int64_t at = first; at <= last;) {
        counts.push_back(at);
        if (counts.size() > 10000)
          fail("{}: expected at most 10000 values, found '{}'", what, item);
        if (multiply ? at > last / step : at > last - step) break;
        at = multiply ? at * step : at + step;
      }
    }
    if (comma == std::string_view::npos) return counts;
    text.remove_prefix(comma + 1);
  }
}

std::string format_size(int64_t bytes) {
  constexpr std::array<std::string_view, 5> names = {"B", "KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  size_t i = 0;
  while (value >= 1024 && i + 1 < names.size()) value /= 1024, ++i;
  return fmt::format("{:.2f} {}", value, names[i]);
}

std::string format_time(double seconds) {
  const double magnitude = std::abs(seconds);
  if (magnitude >= 100) return fmt::format("{:.0f} s", seconds);
  if (magnitude >= 1) return fmt::format("{:.3g} s", seconds);
  if (magnitude >= 1e-3) return fmt::format("{:.3g} ms", seconds * 1e3);
  if (magnitude >= 1e-6) return fmt::format("{:.3g} us", seconds * 1e6);
  return fmt::format("{:.3g} ns", seconds * 1e9);
}

std::string format_quantity(double value) {
  constexpr std::array<std::string_view, 6> names = {"", " k", " M", " G", " T", " P"};
  size_t i = 0;
  while (std::abs(value) >= 999.5 && i + 1 < names.size()) value /= 1000, ++i;
  return fmt::format("{:.3g}{}", value, names[i]);
}

}  // namespace tidemark
