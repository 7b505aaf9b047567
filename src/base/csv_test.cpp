#include "base/csv.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"

namespace tidemark {
namespace {

const std::filesystem::path file = std::filesystem::path(testing::TempDir()) / "csv_test.csv";

Csv csv_of(std::string_view text) {
  write_text(file, text);
  return read_csv(file);
}

template <class Body>
std::string error_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    const std::string text = error.what();
    return text.starts_with(file.string()) ? text.substr(file.string().size()) : text;
  }
  return "no error";
}

TEST(Csv, FieldsByTheNameOfTheirColumn) {
  const Csv csv = csv_of("model,score,n\r\na,-1.5e2,3\r\n\n,0.25,-4\n");
  ASSERT_EQ(csv.rows.size(), 2U);
  EXPECT_TRUE(has_column(csv, "n"));
  EXPECT_FALSE(has_column(csv, "task"));
  EXPECT_EQ(text_at(csv, csv.rows[0], "model"), "a");
  EXPECT_EQ(number_at(csv, csv.rows[0], "score"), -150);
  EXPECT_EQ(integer_at(csv, csv.rows[0], "n"), 3);
  EXPECT_EQ(text_at(csv, csv.rows[1], "model"), "");
  EXPECT_EQ(integer_at(csv, csv.rows[1], "n"), -4);
}

TEST(Csv, WrongOnesAreRefusedWithTheirLine) {
  EXPECT_EQ(error_of([] { csv_of("a,b\n1,2\n\n3\n"); }), ":4: expected 2 columns, found 1");
  const Csv csv = csv_of("a,b\n12abc,1.5\nnan,\n");
  const auto number = [&](size_t row, const char* column) {
    return error_of([&] { number_at(csv, csv.rows[row], column); });
  };
  EXPECT_EQ(number(0, "a"), ":2: a: expected a number, found '12abc'");
  EXPECT_EQ(number(1, "a"), ":3: a: expected a number, found 'nan'");
  EXPECT_EQ(number(1, "b"), ":3: b: expected a number, found ''");
  EXPECT_EQ(number(0, "c"), ":1: found no column 'c'");
  EXPECT_EQ(error_of([&] { integer_at(csv, csv.rows[0], "b"); }),
            ":2: b: expected a whole number, found '1.5'");
  EXPECT_EQ(error_of([] { text_at(csv_of(""), {}, "a"); }), ":1: found no column 'a'");
}

}  // namespace
}  // namespace tidemark
