#include "backend/cpu/parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace tidemark {
namespace {

// Every item once, in parts that begin at multiples of the grain and of which no thread runs two at
// a time.
TEST(Parallel, PartsCoverAllItemsOnce) {
  for (const int threads : {1, 2, 5})
    for (const int64_t grain : {1, 2, 8})
      for (const int64_t items : {0, 1, 2, 7, 36, 1001}) {
        SCOPED_TRACE(testing::Message() << threads << " threads, " << items << " by " << grain);
        std::vector<std::atomic<int>> seen(static_cast<size_t>(items));
        std::vector<std::atomic<int>> running(static_cast<size_t>(threads));
        std::atomic<int64_t> wrong = 0;
        parallel_parts(threads, items, grain, [&](int64_t begin, int64_t end, int thread) {
          auto& here = running[static_cast<size_t>(thread)];
          if (begin >= end || end > items || begin % grain != 0 || ++here != 1) ++wrong;
          for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
          --here;
        });
        EXPECT_EQ(wrong, 0);
        for (const auto& times : seen) EXPECT_EQ(times, 1);
      }
}

// A slow thread holds no more than its part, a quarter where two take turns: the other does what is
// left. Which of the two first parts is the slow one's is nobody's choice.
TEST(Parallel, ASlowThreadDoesLess) {
  std::vector<std::atomic<int64_t>> done(2);
  std::atomic<bool> first = true;
  parallel_parts(2, 1000, 1, [&](int64_t begin, int64_t end, int thread) {
    if (first.exchange(false)) {
      done[static_cast<size_t>(thread)] += end - begin;
      while (done[0] + done[1] < 1000) std::this_thread::yield();
      return;
    }
    done[static_cast<size_t>(thread)] += end - begin;
  });
  EXPECT_LE(std::min(done[0], done[1]), 250);
  EXPECT_EQ(done[0] + done[1], 1000);
}

}  // namespace
}  // namespace tidemark
