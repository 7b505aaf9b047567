#include "report/text.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

namespace tidemark {
namespace {

struct CodePoint {
  char32_t value;
  size_t bytes;
};

// Decodes the first code point; a malformed byte stands for itself.
CodePoint first_code_point(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const size_t length = lead < 0x80    ? 1
                        : lead >= 0xf0 ? 4
                        : lead >= 0xe0 ? 3
                        : lead >= 0xc2 ? 2
                                       : 0;
  if (length < 2 || length > text.size()) return {lead, 1};
  char32_t value = lead & (0xffU >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {lead, 1};
    value = value << 6 | (byte(i) & 0x3f);
  }
  return {value, length};
}

// The ranges that matter for names and numbers; after Unicode's EastAsianWidth.
int columns_of(char32_t c) {
  if (c < 0x20 || c == 0x7f) return 0;
  if ((c >= 0x300 && c <= 0x36f) || (c >= 0x200b && c <= 0x200f) || (c >= 0xfe00 && c <= 0xfe0f))
    return 0;
  const bool wide = (c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0xa4cf) ||
                    (c >= 0xac00 && c <= 0xd7a3) || (c >= 0xf900 && c <= 0xfaff) ||
                    (c >= 0xfe30 && c <= 0xfe6f) || (c >= 0xff00 && c <= 0xff60) ||
                    (c >= 0xffe0 && c <= 0xffe6) || (c >= 0x1f300 && c <= 0x1faff) ||
                    (c >= 0x20000 && c <= 0x3fffd);
  return wide ? 2 : 1;
}

// Length of the escape sequence "ESC [ ... letter" at the start of the text, or 0.
size_t escape_length(std::string_view text) {
  if (!text.starts_with("\033[")) return 0;
  size_t end = 2;
  while (end < text.size() && !std::isalpha(static_cast<unsigned char>(text[end]))) ++end;
  return std::min(end + 1, text.size());
}

}  // namespace

bool can_redraw(std::FILE* file) {
  const char* term = std::getenv("TERM");
  return isatty(fileno(file)) != 0 && (term == nullptr || std::strcmp(term, "dumb") != 0);
}

Style style_of(std::FILE* file) {
  const int descriptor = fileno(file);
  if (isatty(descriptor) == 0) return {.color = false, .width = 0};
  Style style;
  const char* no_color = std::getenv("NO_COLOR");
  style.color = (no_color == nullptr || *no_color == '\0') && can_redraw(file);
  winsize size{};
  if (ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) style.width = size.ws_col;
  return style;
}

std::string inked(std::string_view text, Ink ink, const Style& style) {
  constexpr std::string_view codes[] = {"", "1", "2", "31", "32", "33", "36"};
  if (!style.color || ink == Ink::plain || text.empty()) return std::string(text);
  return fmt::format("\033[{}m{}\033[0m", codes[static_cast<size_t>(ink)], text);
}

int display_width(std::string_view text) {
  int width = 0;
  while (!text.empty()) {
    size_t bytes = escape_length(text);
    if (bytes == 0) {
      const CodePoint point = first_code_point(text);
      width += columns_of(point.value);
      bytes = point.bytes;
    }
    text.remove_prefix(bytes);
  }
  return width;
}

std::string clipped(std::string_view text, int width) {
  if (display_width(text) <= width) return std::string(text);
  std::string kept;
  int used = 0;
  bool escaped = false;
  while (!text.empty()) {
    size_t bytes = escape_length(text);
    if (bytes > 0) {
      escaped = true;
    } else {
      const CodePoint point = first_code_point(text);
      bytes = point.bytes;
      used += columns_of(point.value);
      if (used > width - 1) break;
    }
    kept += text.substr(0, bytes);
    text.remove_prefix(bytes);
  }
  return kept + "…" + (escaped ? "\033[0m" : "");
}

std::string bar(double fraction, int width) {
  constexpr std::string_view eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto filled = static_cast<int>(std::lround(std::clamp(fraction, 0.0, 1.0) * width * 8));
  std::string out;
  for (int i = 0; i < filled / 8; ++i) out += "█";
  return out += eighths[static_cast<size_t>(filled % 8)];
}

int decimals_of(double value) {
  // The bounds are where rounding to that many decimals would give a fifth digit.
  int decimals = 0;
  for (double bound = 999.95; std::abs(value) < bound && decimals < 6; bound /= 10) ++decimals;
  return decimals;
}

std::string number_text(double value) {
  if (value == 0) return "0";
  if (!std::isfinite(value)) return "–";
  return fmt::format("{:.{}f}", value, decimals_of(value));
}

Unit time_unit(double seconds) {
  if (seconds >= 0.99995 || seconds <= 0) return {1, "s"};
  if (seconds >= 0.99995e-3) return {1e3, "ms"};
  return {1e6, "µs"};
}

std::string time_text(double seconds) {
  const Unit unit = time_unit(std::abs(seconds));
  return fmt::format("{} {}", number_text(seconds * unit.per_base), unit.name);
}

std::string percent_text(double fraction, int decimals) {
  return fmt::format("{:.{}f} %", fraction * 100, decimals);
}

}  // namespace tidemark
