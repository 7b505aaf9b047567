#include "report/html.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace tidemark {
namespace {

WebAssets tiny_assets() {
  return {.page =
              "<title>@@title@@</title><script type=\"application/json\">@@data@@</script>"
              "<style>@@style@@</style>@@vega@@@@vega_lite@@@@vega_embed@@@@script@@",
          .style = "s",
          .script = "/* @@data@@ stays */",
          .vega = "v",
          .vega_lite = "l",
          .vega_embed = "e",
          .licences = "BSD"};
}

Record named(const std::string& model) {
  Record r;
  r.cell.model = model;
  r.cell.context = 8;
  return r;
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(HtmlReport, NamesCannotLeaveTheirPlace) {
  const std::string page = html_report(
      {.title = "<b>&", .records = {named("</script><script>alert(1)</script>")}}, tiny_assets());
  EXPECT_EQ(count(page, "</script>"), 1U);  // the page's own
  EXPECT_EQ(count(page, "<script>"), 0U);
  EXPECT_NE(page.find("<title>&lt;b>&amp;</title>"), std::string::npos);
}

TEST(HtmlReport, InsertsOnceAndDoesNotSearchWhatItInserted) {
  const std::string page = html_report({.records = {named("m")}}, tiny_assets());
  EXPECT_NE(page.find("vle/* @@data@@ stays */"), std::string::npos);
}

TEST(HtmlReport, NamesThatAreNotUtf8DoNotStopIt) {
  EXPECT_NO_THROW(html_report({.records = {named("\xff\xfe")}}, tiny_assets()));
}

TEST(WebAssets, AbsentFilesAreToldWithTheirRemedy) {
  try {
    load_web_assets(std::filesystem::path(TIDEMARK_SOURCE) / "tests");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("page.html"), std::string::npos) << error.what();
  }
  EXPECT_THROW(find_web_folder(std::vector<std::filesystem::path>{"/nowhere"}), Error);
}

}  // namespace
}  // namespace tidemark
