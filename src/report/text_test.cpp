#include "report/text.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "report/progress.h"
#include "report/table.h"

namespace tidemark {
namespace {

TEST(ReportText, NumbersHaveFourDigits) {
  EXPECT_EQ(number_text(0), "0");
  EXPECT_EQ(number_text(0.012344), "0.01234");
  EXPECT_EQ(number_text(9.99949), "9.999");
  EXPECT_EQ(number_text(9.9996), "10.00");
  EXPECT_EQ(number_text(99.996), "100.0");
  EXPECT_EQ(number_text(999.96), "1000");
  EXPECT_EQ(number_text(123456.7), "123457");
  EXPECT_EQ(number_text(-24.205), "-24.20");
  EXPECT_EQ(number_text(1e-9), "0.000000");
}

TEST(ReportText, TimesTakeASuitableUnit) {
  EXPECT_EQ(time_text(12.3456), "12.35 s");
  EXPECT_EQ(time_text(0.99996), "1.000 s");
  EXPECT_EQ(time_text(0.0413), "41.30 ms");
  EXPECT_EQ(time_text(0.0009), "900.0 µs");
}

TEST(ReportText, WidthCountsColumnsNotBytes) {
  EXPECT_EQ(display_width("abc"), 3);
  EXPECT_EQ(display_width("µs ± –"), 6);
  EXPECT_EQ(display_width("模型"), 4);
  EXPECT_EQ(display_width("e\xcc\x81"), 1);             // e and a combining accent
  EXPECT_EQ(display_width("\033[1;31mred\033[0m"), 3);  // colour takes no room
  EXPECT_EQ(display_width("\xff\xc3"), 2);              // malformed bytes stand for themselves
}

TEST(ReportText, ClippingKeepsWholeCharacters) {
  EXPECT_EQ(clipped("abcdef", 6), "abcdef");
  EXPECT_EQ(clipped("abcdef", 4), "abc…");
  EXPECT_EQ(clipped("模型模型", 6), "模型…");
  EXPECT_EQ(clipped("\033[31mabcdef\033[0m", 3), "\033[31mab…\033[0m");
}

TEST(ReportText, BarsAreDrawnToAnEighth) {
  EXPECT_EQ(bar(0, 4), "");
  EXPECT_EQ(bar(0.5, 4), "██");
  EXPECT_EQ(bar(1.0 / 32, 4), "▏");
  EXPECT_EQ(bar(7.0 / 32, 4), "▉");
  EXPECT_EQ(bar(2, 4), "████");
  EXPECT_EQ(bar(-1, 4), "");
}

TEST(ReportText, ColourIsOnlyForTerminals) {
  EXPECT_EQ(inked("x", Ink::red, {.color = false}), "x");
  EXPECT_EQ(inked("x", Ink::red, {.color = true}), "\033[31mx\033[0m");
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  EXPECT_FALSE(style_of(file).color);
  EXPECT_EQ(style_of(file).width, 0);
  std::fclose(file);
}

TEST(Table, NumbersAlignOnTheRight) {
  const Table table{
      .columns = {{"name", Align::left}, {"value"}},
      .rows = {
          {"a", "1.25"}, {"Title across"}, {"µ", "\033[1m10.00\033[0m"}, {}, {"sum", "11.25"}}};
  EXPECT_EQ(render(table, {}),
            "  name  value\n"
            "  ───────────\n"
            "  a      1.25\n"
            "  Title across\n"
            "  µ     \033[1m10.00\033[0m\n"
            "  ───────────\n"
            "  sum   11.25\n");
}

TEST(Table, OnlyTextGivesWayToTheWidth) {
  const Table table{.columns = {{"a", Align::left}, {"number"}, {"b", Align::left}},
                    .rows = {{"0123456789", "123456789", "0123456789012345"}},
                    .indent = 0};
  EXPECT_EQ(render(table, {.width = 35}),
            "a              number  b\n"
            "───────────────────────────────────\n"
            "0123456789  123456789  01234567890…\n");
  EXPECT_EQ(render(table, {.width = 31}),
            "a             number  b\n"
            "───────────────────────────────\n"
            "01234567…  123456789  01234567…\n");
  EXPECT_NE(render(table, {.width = 10}).find("123456789"), std::string::npos);
  EXPECT_NE(render(table, {.width = 0}).find("0123456789012345"), std::string::npos);
}

TEST(Progress, LineEstimatesWhatIsLeft) {
  EXPECT_EQ(progress_line("load", 0.25, 30, 80),
            "load  █████                  25 %  1 min 30 s left");
  EXPECT_EQ(progress_line("load", 0, 30, 80), "load                          0 %  ");
  EXPECT_NE(progress_line("load", 0.5, 7230, 80).find("2 h 00 min left"), std::string::npos);
  for (int width : {40, 80, 100, 200})
    EXPECT_LT(display_width(progress_line(std::string(300, 'x'), 0.5, 86400, width)), width);
}

// What a bar writes to a terminal of that TERM.
std::string drawn_on(const char* term) {
  const std::string before = std::getenv("TERM") ? std::getenv("TERM") : "";
  setenv("TERM", term, 1);
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  grantpt(master);
  unlockpt(master);
  std::FILE* file = fopen(ptsname(master), "r+");
  {
    ProgressBar progress(file);
    progress.show("load", 0.5);
  }
  std::fputs("end", file);
  std::fflush(file);
  std::string text(4096, '\0');
  text.resize(static_cast<size_t>(std::max<ssize_t>(0, read(master, text.data(), text.size()))));
  fclose(file);
  close(master);
  setenv("TERM", before.c_str(), 1);
  return text;
}

TEST(Progress, SilentWhereALineCannotBeDrawnOver) {
  EXPECT_NE(drawn_on("xterm").find("load"), std::string::npos);
  EXPECT_EQ(drawn_on("dumb"), "end");
}

TEST(Progress, SilentInAPipe) {
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  {
    ProgressBar progress(file);
    progress.show("load", 0.5);
    progress.clear();
  }
  EXPECT_EQ(std::ftell(file), 0);
  std::fclose(file);
}

}  // namespace
}  // namespace tidemark
