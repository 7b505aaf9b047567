#include "measure/processor_wait.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace tidemark {
namespace {

namespace fs = std::filesystem;

TEST(ProcessorWait, AddsWhatEveryThreadWaited) {
  const fs::path tasks =
      fs::path(::testing::TempDir()) / ("tidemark_tasks_" + std::to_string(getpid()));
  for (const auto& [id, line] :
       {std::pair{"7", "9000000000 1500000000 12"}, {"8", "1 250000000 3"}}) {
    fs::create_directories(tasks / id);
    std::ofstream(tasks / id / "schedstat") << line << "\n";
  }
  const auto waited_s = processor_wait_s(tasks);
  ASSERT_TRUE(waited_s);
  EXPECT_DOUBLE_EQ(*waited_s, 1.75);
  fs::remove_all(tasks);
  EXPECT_FALSE(processor_wait_s(tasks));
}

TEST(ProcessorWait, IsWorthAWordFromAHundredthOfTheTimeOn) {
  EXPECT_FALSE(wait_flag(0.19, 10, 2));
  EXPECT_EQ(wait_flag(2.6, 10, 2), "threads waited 13 % of the time for a free processor");
  EXPECT_FALSE(wait_flag(0, 0, 2));
}

}  // namespace
}  // namespace tidemark
