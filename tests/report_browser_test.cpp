// The report in a real browser: web/test/report.cjs drives headless Chromium over a page made from
// the made-up study. Screenshots of every figure stay in artifacts/report of the build folder.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "report/html.h"
#include "report_study.h"

namespace tidemark {
namespace {

std::string chromium_path() {
  if (const char* given = std::getenv("CHROMIUM"); given != nullptr) return given;
  for (const char* file :
       {"/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"})
    if (std::filesystem::exists(file)) return file;
  return "";
}

// What is missing for the test, or "". scripts/test fetches it all.
std::string missing_parts(const std::filesystem::path& web) {
  if (!std::filesystem::exists(web / "vendor" / "vega.min.js") ||
      !std::filesystem::exists(web / "node_modules" / "playwright-core"))
    return "packages in web/ (scripts/web --test)";
  if (std::system("node --version >/dev/null 2>&1") != 0) return "node";
  if (chromium_path().empty()) return "Chromium (scripts/packages test, or CHROMIUM=/path)";
  return "";
}

TEST(ReportInChromium, DrawsSortsDownloadsAndTurnsDark) {
  const std::filesystem::path web = std::filesystem::path(TIDEMARK_SOURCE) / "web";
  if (const std::string missing = missing_parts(web); !missing.empty()) {
    const char* wanted = std::getenv("TIDEMARK_BROWSER_TEST");
    ASSERT_FALSE(wanted != nullptr && std::string(wanted) == "required") << "missing: " << missing;
    GTEST_SKIP() << "missing: " << missing;
  }
  const std::filesystem::path out = std::filesystem::path(TIDEMARK_TEST_OUTPUT) / "report";
  std::filesystem::create_directories(out);
  std::ofstream(out / "report.html") << html_report(made_up_study(), load_web_assets(web));
  const std::string command = "node '" + (web / "test" / "report.cjs").string() + "' '" +
                              (out / "report.html").string() + "' '" + out.string() + "' '" +
                              chromium_path() + "'";
  const int status = std::system(command.c_str());
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace tidemark
