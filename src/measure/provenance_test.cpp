#include "measure/provenance.h"

#include <gtest/gtest.h>

#include <cstring>
#include <regex>
#include <vector>

namespace tidemark {
namespace {

TEST(Provenance, NamesThisMachineAndBuild) {
  const Provenance p = machine_provenance();
  EXPECT_FALSE(p.cpu.empty());
  EXPECT_FALSE(p.os.empty());
  EXPECT_GT(p.memory_bytes, 0);
  EXPECT_TRUE(std::regex_match(p.date, std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)"))) << p.date;
  EXPECT_TRUE(std::regex_match(p.commit, std::regex("unknown|[0-9a-f]{40}"))) << p.commit;
  EXPECT_NE(p.compiler.find(__VERSION__), std::string::npos) << p.compiler;
}

TEST(Provenance, PeakRssSeesMemoryThatIsGoneAgain) {
  if (!peak_rss_bytes()) GTEST_SKIP() << "no /proc/self/status";
  constexpr size_t size_bytes = 256 << 20;
  if (!reset_peak_rss()) GTEST_SKIP() << "/proc/self/clear_refs is not writable";
  const int64_t before = *peak_rss_bytes();
  {
    std::vector<char> memory(size_bytes);
    std::memset(memory.data(), 1, memory.size());
  }
  EXPECT_GT(*peak_rss_bytes(), before + static_cast<int64_t>(size_bytes * 9 / 10));
  ASSERT_TRUE(reset_peak_rss());
  EXPECT_LT(*peak_rss_bytes(), before + static_cast<int64_t>(size_bytes / 2));
}

}  // namespace
}  // namespace tidemark
