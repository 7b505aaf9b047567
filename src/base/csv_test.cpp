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

// As spreadsheets save them.
TEST(Csv, QuotedFieldsHoldCommasQuotesAndLines) {
  const Csv csv = csv_of(
      "\xEF\xBB\xBF\"model\",task\r\n\"a, b\",\"say \"\"hi\"\"\"\r\n\"two\nlines\",\"\"\n"
      "plain,5\" wide\n\"last\",\"\"\"\"");
  EXPECT_EQ(csv.columns, (std::vector<std::string>{"model", "task"}));
  ASSERT_EQ(csv.rows.size(), 4U);
  EXPECT_EQ(csv.rows[0].fields, (std::vector<std::string>{"a, b", "say \"hi\""}));
  EXPECT_EQ(csv.rows[1].fields, (std::vector<std::string>{"two\nlines", ""}));
  EXPECT_EQ(csv.rows[2].fields, (std::vector<std::string>{"plain", "5\" wide"}));
  EXPECT_EQ(csv.rows[2].line, 5);
  EXPECT_EQ(csv.rows[3].fields, (std::vector<std::string>{"last", "\""}));
  EXPECT_EQ(split_fields("\"a,b\",f32,,"), (std::vector<std::string>{"a,b", "f32", "", ""}));
  EXPECT_EQ(split_fields("a\r"), (std::vector<std::string>{"a"}));
  EXPECT_EQ(split_fields(""), (std::vector<std::string>{""}));
}

TEST(Csv, OtherEncodingsAreRefusedWithTheirLine) {
  EXPECT_EQ(error_of([] { csv_of("a,b\nlat\xe9n,2\n"); }),
            ":2: expected text in UTF-8, found 'lat\xe9n'");
}

TEST(Csv, WrongQuotesAreRefusedWithTheirLine) {
  EXPECT_EQ(error_of([] { csv_of("a,b\n1,2\n3,\"4\n5,6\n"); }),
            ":3: expected a closing quote, found none");
  EXPECT_EQ(error_of([] { csv_of("a,b\n\"1\"x,2\n"); }),
            ":2: expected a comma after a closing quote, found 'x'");
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
