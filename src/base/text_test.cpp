#include "base/text.h"

#include <gtest/gtest.h>

namespace tidemark {
namespace {

TEST(Text, EqualWithoutCase) {
  EXPECT_TRUE(equal_without_case("Qwen2.5-0.5B", "qwen2.5-0.5b"));
  EXPECT_FALSE(equal_without_case("mamba", "mamba2"));
  EXPECT_FALSE(equal_without_case("mamba", "samba"));
}

TEST(Text, Utf8) {
  for (const char* text : {"", "latin", "lat\u00e9n", "\u4e2d\uffff", "\U0001f600\U0010ffff"})
    EXPECT_TRUE(is_utf8(text)) << text;
  for (const char* text : {"lat\xe9n", "\x80", "\xc0\xaf", "\xc3", "\xe0\x80\xaf", "\xe4\xb8",
                           "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xff"})
    EXPECT_FALSE(is_utf8(text)) << text;
}

TEST(Text, MarkdownCellsKeepTheirBars) {
  EXPECT_EQ(markdown_cell("|a||b"), "\\|a\\|\\|b");
}

TEST(Text, BytesThatAreNoUtf8AreSpelledOut) {
  EXPECT_EQ(as_utf8("caf\xc3\xa9"), "caf\xc3\xa9");
  EXPECT_EQ(as_utf8("a\xff"
                    "b\xc3"),
            "a\\xff"
            "b\\xc3");
}

}  // namespace
}  // namespace tidemark
