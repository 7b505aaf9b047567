#include "base/units.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace tidemark {
namespace {

TEST(Units, SizesAndCounts) {
  EXPECT_EQ(parse_size("--memory", "24GiB"), int64_t{24} << 30);
  EXPECT_EQ(parse_size("--memory", "1.5KiB"), 1536);
  EXPECT_EQ(parse_size("--memory", "8GB"), 8'000'000'000);
  EXPECT_EQ(parse_count("--context", "8k"), 8192);
  EXPECT_EQ(parse_count("--context", "1m"), 1048576);
  EXPECT_EQ(parse_counts("--context", "512,1k..8k*2,3..7+2"),
            (std::vector<int64_t>{512, 1024, 2048, 4096, 8192, 3, 5, 7}));
}

TEST(Units, ErrorsNameTheOptionAndWhatWasFound) {
  for (const char* text : {"", "x", "-1", "1.5", "8q", "1k..", "4..1*2", "1..8", "1..8*1", "1,,2",
                           "99999999999999999999", "1..1000000+1"}) {
    SCOPED_TRACE(text);
    try {
      parse_counts("--context", text);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find("--context: expected "), 0U) << error.what();
    }
  }
  EXPECT_THROW(parse_size("--memory", "24 GiB"), Error);
  EXPECT_THROW(parse_size("--memory", "9999999TiB"), Error);
}

TEST(Units, Formats) {
  EXPECT_EQ(format_size(988065536), "942.29 MiB");
  EXPECT_EQ(format_size(1023), "1023 B");
  EXPECT_EQ(format_time(0.0123), "12.3 ms");
  EXPECT_EQ(format_time(0), "0 ns");
  EXPECT_EQ(format_quantity(1234567890), "1.23 G");
  EXPECT_EQ(format_quantity(12), "12");
}

}  // namespace
}  // namespace tidemark
