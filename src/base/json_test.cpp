#include "base/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "base/error.h"
#include "base/file.h"

namespace tidemark {
namespace {

Json parse(std::string_view text) {
  return Json::parse(text, "config.json");
}

template <class Body>
std::string error_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Json, reads_values) {
  const Json json = parse(R"({"a": {"b": [1, 2.5, "x", true, null]}, "n": 64.0, "u": null})");
  EXPECT_EQ(json["a"]["b"][size_t{0}].integer(), 1);
  EXPECT_EQ(json["a"]["b"][1].number(), 2.5);
  EXPECT_EQ(json["a"]["b"][2].string(), "x");
  EXPECT_TRUE(json["a"]["b"][3].boolean());
  EXPECT_EQ(json["a"]["b"].size(), 5U);
  EXPECT_EQ(json["n"].integer(), 64);
  EXPECT_TRUE(json.has("a"));
  EXPECT_FALSE(json.has("u"));
  EXPECT_TRUE(json.has_null("u"));
  EXPECT_FALSE(json.has_null("absent"));
  EXPECT_EQ(json.keys(), (std::vector<std::string>{"a", "n", "u"}));
}

TEST(Json, an_error_says_where_what_and_what_else) {
  const Json json = parse(R"({"rope_parameters": {"factor": "x"}, "list": [1, [2]], "big": 1e30})");
  EXPECT_EQ(error_of([&] { json["rope_parameters"]["factor"].number(); }),
            "config.json: key 'rope_parameters.factor': expected a number, found a string 'x'");
  EXPECT_EQ(error_of([&] { json["list"][1].integer(); }),
            "config.json: key 'list[1]': expected an integer, found an array of 1");
  EXPECT_EQ(error_of([&] { json["list"][2]; }),
            "config.json: key 'list': expected at least 3 elements, found an array of 2");
  EXPECT_EQ(error_of([&] { json["rope_parameters"]["theta"]; }),
            "config.json: key 'rope_parameters.theta': missing");
  EXPECT_EQ(error_of([&] { json["big"].integer(1, 9); }),
            "config.json: key 'big': expected an integer from 1 to 9, found 1e+30");
  EXPECT_EQ(error_of([&] { json["list"][size_t{0}].integer(2, 3); }),
            "config.json: key 'list[0]': expected an integer from 2 to 3, found 1");
  EXPECT_EQ(error_of([&] { json["list"]["x"]; }),
            "config.json: key 'list': expected an object, found an array of 2");
  EXPECT_EQ(error_of([&] { parse("[]").string(); }),
            "config.json: expected a string, found an array of 0");
}

TEST(Json, takes_the_infinities_that_python_writes) {
  const Json json =
      parse(R"({"a": [0.0, Infinity], "b": -Infinity, "c": NaN, "d": {"__float__": "Infinity"},)"
            R"( "e": "Infinity NaN \" Infinity", "f": -1})");
  EXPECT_EQ(json["a"][1].number(), INFINITY);
  EXPECT_EQ(json["b"].number(), -INFINITY);
  EXPECT_TRUE(std::isnan(json["c"].number()));
  EXPECT_EQ(json["d"].number(), INFINITY);
  EXPECT_EQ(json["e"].string(), "Infinity NaN \" Infinity");
  EXPECT_EQ(json["f"].number(), -1);
  EXPECT_EQ(error_of([&] { json["a"][1].integer(); }),
            "config.json: key 'a[1]': expected an integer, found inf");
}

TEST(Json, refuses_deep_nesting) {
  const std::string deep(100'000, '[');
  EXPECT_EQ(error_of([&] { parse(deep); }),
            "config.json: expected at most 64 levels of nesting, found more at byte 64");
  EXPECT_NO_THROW(parse(std::string(64, '[') + std::string(64, ']')));
}

TEST(Json, refuses_broken_text_in_one_line) {
  for (const char* text : {"", "{", "{\"a\":}", "{\"a\":1}x", "\"\xff\"", "{\"a\":\"\n\"}", "1e999",
                           "Infinit", "{\"a\" Infinity}", "]", "\"\\"}) {
    const std::string error = error_of([&] { parse(text); });
    EXPECT_TRUE(error.starts_with("config.json: expected JSON: ")) << error;
    EXPECT_EQ(error.find('\n'), error.npos) << error;
  }
}

TEST(Json, refuses_a_key_that_appears_twice) {
  EXPECT_EQ(error_of([] { parse(R"({"a": {"b": 1}, "b": 2, "a": 3})"); }),
            "config.json: key 'a': found twice");
  EXPECT_NO_THROW(parse(R"({"a": {"b": 1}, "b": [{"a": 1}, {"a": 2}]})"));
}

TEST(File, is_mapped_whole) {
  const std::string path = testing::TempDir() + "/tidemark_file_test";
  std::ofstream(path) << "hello";
  MappedFile file(path);
  EXPECT_EQ(file.bytes().size(), 5U);
  EXPECT_EQ(read_text(path), "hello");
  MappedFile moved = std::move(file);
  EXPECT_EQ(moved.bytes()[4], std::byte{'o'});
  std::ofstream(path).flush();  // empties it
  EXPECT_EQ(read_text(path), "");
}

TEST(File, that_cannot_be_read_is_named) {
  EXPECT_EQ(error_of([] { read_text("/nowhere/x"); }),
            "/nowhere/x: cannot be read: No such file or directory");
  EXPECT_EQ(error_of([] { read_text("/"); }), "/: expected a regular file");
  EXPECT_EQ(error_of([] { read_text("/dev/null"); }), "/dev/null: expected a regular file");
}

}  // namespace
}  // namespace tidemark
