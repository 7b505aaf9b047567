#include "sweep/child.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>

namespace tidemark {
namespace {

StopRequests nobody_stops = 0;

ChildResult shell(const std::string& script, const ChildLimits& limits = {}) {
  return run_child({"/bin/sh", "-c", script}, limits, nobody_stops);
}

TEST(Child, OutputErrorAndStatus) {
  const ChildResult r = shell("echo out; echo one >&2; echo two >&2; exit 7");
  EXPECT_EQ(r.end, ChildEnd::exited);
  EXPECT_EQ(r.status, 7);
  EXPECT_EQ(r.output, "out\n");
  EXPECT_EQ(r.error_tail, "two");
}

TEST(Child, MoreOutputThanAPipeHolds) {
  const ChildResult r = shell("head -c 3000000 /dev/zero | tr '\\0' x; echo e >&2");
  EXPECT_EQ(r.output.size(), 3000000U);
  EXPECT_EQ(r.error_tail, "e");
}

TEST(Child, NamesTheSignal) {
  const ChildResult r = shell("kill -SEGV $$");
  EXPECT_EQ(r.end, ChildEnd::signalled);
  EXPECT_EQ(r.status, SIGSEGV);
}

TEST(Child, TimeLimitEndsTheWholeGroup) {
  // The grandchild holds the pipe: were it left alive, this would not return for a minute.
  const ChildResult r = shell("sleep 60 & sleep 60", {.time_s = 0.2, .memory_bytes = 0});
  EXPECT_EQ(r.end, ChildEnd::timed_out);
}

TEST(Child, StopsAtTheSecondRequest) {
  StopRequests stop = 2;
  EXPECT_EQ(run_child({"/bin/sleep", "60"}, {}, stop).end, ChildEnd::stopped);
  stop = 1;
  EXPECT_EQ(run_child({"/bin/true"}, {}, stop).end, ChildEnd::exited);
}

TEST(Child, MemoryIsLimited) {
  const ChildResult r = shell("ulimit -d", {.time_s = 0, .memory_bytes = int64_t{1} << 30});
  EXPECT_EQ(r.output, "1048576\n");
}

TEST(Child, AMissingProgramIsAResult) {
  const ChildResult r = run_child({"/no/such/program"}, {}, nobody_stops);
  EXPECT_EQ(r.status, 127);
  EXPECT_EQ(r.error_tail, "No such file or directory");
}

// A killed sweep must not leave a cell running that disturbs the next call.
TEST(Child, DiesWithItsParent) {
  const std::string file = ::testing::TempDir() + "tidemark_child_pid";
  std::remove(file.c_str());
  const pid_t parent = fork();
  if (parent == 0) {
    run_child({"/bin/sh", "-c",
               "echo $$ >" + file + ".part; mv " + file + ".part " + file + "; exec sleep 60"},
              {}, nobody_stops);
    _exit(0);
  }
  pid_t child = 0;
  while (!(std::ifstream(file) >> child)) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ASSERT_EQ(kill(child, 0), 0);
  kill(parent, SIGKILL);
  waitpid(parent, nullptr, 0);
  // Its new parent may take a while to reap it: a zombie is dead too.
  const auto alive = [&] {
    std::ifstream stat("/proc/" + std::to_string(child) + "/stat");
    std::string pid, name, state;
    return (stat >> pid >> name >> state) && state != "Z";
  };
  for (int i = 0; i < 2000 && alive(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_FALSE(alive());
}

}  // namespace
}  // namespace tidemark
