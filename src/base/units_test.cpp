#include "base/units.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace tidemark {
namespace {

using List = std::vector<int64_t>;

TEST(Units, reads_sizes) {
  EXPECT_EQ(parse_bytes("24GiB"), int64_t{24} << 30);
  EXPECT_EQ(parse_bytes(" 512 MiB"), int64_t{512} << 20);
  EXPECT_EQ(parse_bytes("1.5KiB"), 1536);
  EXPECT_EQ(parse_bytes("4096"), 4096);
  EXPECT_EQ(parse_bytes("2TiB"), int64_t{2} << 40);
  for (const char* wrong : {"", "GiB", "24 GB", "-1MiB", "1e3", "nan", "0.3B", "9999999999TiB"})
    EXPECT_THROW(parse_bytes(wrong), Error) << wrong;
}

TEST(Units, reads_token_counts) {
  EXPECT_EQ(parse_tokens("512"), 512);
  EXPECT_EQ(parse_tokens("1k"), 1024);
  EXPECT_EQ(parse_tokens("128K"), 131072);
  EXPECT_EQ(parse_tokens("1m"), 1048576);
  for (const char* wrong : {"", "0", "-5", "k", "1.5k", "8kk", "8 k x", "9999999999999999999",
                            "2000000000000", "999999999999m"})
    EXPECT_THROW(parse_tokens(wrong), Error) << wrong;
}

TEST(Units, reads_lists_and_ranges) {
  EXPECT_EQ(parse_token_list("512,2048,8k"), (List{512, 2048, 8192}));
  EXPECT_EQ(parse_token_list("1k..8k*2"), (List{1024, 2048, 4096, 8192}));
  EXPECT_EQ(parse_token_list("1k..7k*2"), (List{1024, 2048, 4096}));
  EXPECT_EQ(parse_token_list("10..30+10, 5"), (List{10, 20, 30, 5}));
  EXPECT_EQ(parse_token_list("4,1..4*2"), (List{4, 1, 2}));
  for (const char* wrong : {"", "1,,2", "1..8", "8..1*2", "1..8*1", "1..8*0", "1..1m+1", "1..*2"})
    EXPECT_THROW(parse_token_list(wrong), Error) << wrong;
}

TEST(Units, an_error_names_what_it_found) {
  try {
    parse_tokens("x\n");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "tokens: expected a number of at least 1 such as 512 or 8k, found 'x\\x0a'");
  }
}

TEST(Units, writes_for_people) {
  EXPECT_EQ(format_bytes(494032768 * 2LL), "942.29 MiB");
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024 * 1024 - 1), "1.00 MiB");
  EXPECT_EQ(format_bytes(int64_t{5} << 42), "20.00 TiB");
  EXPECT_EQ(format_bytes(int64_t{1} << 30), "1.00 GiB");
  EXPECT_EQ(format_bytes(int64_t{1} << 30, "MiB"), "1024.00 MiB");
  EXPECT_EQ(format_count(1235814400), "1.24 G");
  EXPECT_EQ(format_count(512), "512");
  EXPECT_EQ(format_tokens(8192), "8k");
  EXPECT_EQ(format_tokens(1000), "1000");
  EXPECT_EQ(format_tokens(3 << 20), "3m");
}

}  // namespace
}  // namespace tidemark
