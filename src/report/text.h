// Numbers and text for people: units, widths, bars, colours.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace tidemark {

// How a stream wants its text.
struct Style {
  bool color = false;
  int width = 100;  // columns; 0: no end
};
// Colour and a width only on a terminal; no colour when NO_COLOR is set (no-color.org) or TERM is
// "dumb". A pipe gets every column in full.
Style style_of(std::FILE*);
// Whether a line there can be drawn over: a terminal that knows escape sequences.
bool can_redraw(std::FILE*);

enum class Ink { plain, bold, dim, red, green, yellow, cyan };
std::string inked(std::string_view text, Ink, const Style&);

// Columns a text takes on a terminal: code points of UTF-8, wide ones twice, combining ones and
// escape sequences not at all.
int display_width(std::string_view);
// Cuts to `width` columns, the last of which is then "…".
std::string clipped(std::string_view, int width);
// A bar of `fraction` of `width` columns, to an eighth of one.
std::string bar(double fraction, int width);

// Four significant digits, never an exponent: "1944", "24.21", "0.01234".
std::string number_text(double value);
// How many decimals those are.
int decimals_of(double value);
// A unit that suits a value, so that a row of numbers can share it: 0.0413 -> {1000, "ms"}.
struct Unit {
  double per_base = 1;
  std::string_view name;
};
Unit time_unit(double seconds);
std::string time_text(double seconds);
// "90.4 %"
std::string percent_text(double fraction, int decimals = 1);

}  // namespace tidemark
