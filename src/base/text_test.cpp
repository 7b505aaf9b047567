#include "base/text.h"

#include <gtest/gtest.h>

namespace tidemark {
namespace {

TEST(Text, EqualWithoutCase) {
  EXPECT_TRUE(equal_without_case("Qwen2.5-0.5B", "qwen2.5-0.5b"));
  EXPECT_FALSE(equal_without_case("mamba", "mamba2"));
  EXPECT_FALSE(equal_without_case("mamba", "samba"));
}

TEST(Text, MarkdownCellsKeepTheirBars) {
  EXPECT_EQ(markdown_cell("|a||b"), "\\|a\\|\\|b");
}

}  // namespace
}  // namespace tidemark
