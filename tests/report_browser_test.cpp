// The report in a real browser: web/test/report.cjs drives headless Chromium over a page made from
// the made-up study. Screenshots of every figure stay in artifacts/report of the build folder.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "report/html.h"
#include "report_study.h"

namespace tidemark {
namespace {

TEST(ReportInChromium, DrawsSortsDownloadsAndTurnsDark) {
  const std::filesystem::path web = std::filesystem::path(TIDEMARK_SOURCE) / "web";
  if (!std::filesystem::exists(web / "vendor" / "vega.min.js"))
    GTEST_SKIP() << "web/vendor is missing; scripts/web --test fetches it";
  if (std::system("node --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "node is missing";
  const std::filesystem::path out = std::filesystem::path(TIDEMARK_TEST_OUTPUT) / "report";
  std::filesystem::create_directories(out);
  std::ofstream(out / "report.html") << html_report(made_up_study(), load_web_assets(web));
  const std::string command = "node '" + (web / "test" / "report.cjs").string() + "' '" +
                              (out / "report.html").string() + "' '" + out.string() + "'";
  const int status = std::system(command.c_str());
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP();
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace tidemark
