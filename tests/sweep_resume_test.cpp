// A sweep killed at random again and again ends with the cells of one that was left alone.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "base/error.h"
#include "store/store.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;

class SweepResumeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) /
              fmt::format("tidemark_resume_{}_{}", getpid(),
                          ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write_sweep(const std::string& text) {
    std::ofstream(folder_ / "sweep.toml") << text;
    return (folder_ / "sweep.toml").string();
  }

  // The program in a process group of its own, as a shell would start it.
  static pid_t start(const std::vector<std::string>& arguments) {
    std::vector<char*> argv = {const_cast<char*>(TIDEMARK_PROGRAM)};
    for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    const pid_t pid = fork();
    if (pid == 0) {
      if (!freopen("/dev/null", "w", stderr) || !freopen("/dev/null", "w", stdout)) _exit(126);
      execv(argv[0], argv.data());
      _exit(127);
    }
    return pid;
  }
  static int wait(pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  static int run(const std::vector<std::string>& arguments) { return wait(start(arguments)); }

  // Place -> outcome. Fails when a place has two results.
  static std::map<SweepPlace, std::string> outcomes(const fs::path& path) {
    std::map<SweepPlace, std::string> found;
    for (const StoredRecord& row : read_records(Store(path))) {
      EXPECT_TRUE(row.place);
      const bool fresh =
          found.emplace(*row.place, std::string(name(row.record.outcome)) + row.record.reason)
              .second;
      EXPECT_TRUE(fresh) << row.place->request;
    }
    return found;
  }

  // The children of `parent` that are alive, by /proc.
  static std::vector<pid_t> children(pid_t parent) {
    std::vector<pid_t> found;
    std::ifstream file(fmt::format("/proc/{}/task/{}/children", parent, parent));
    for (pid_t child; file >> child;) found.push_back(child);
    return found;
  }

  // Returns when `pid` has been seen to start `count` cells, or has ended.
  static void await_cells(pid_t pid, size_t count) {
    std::set<pid_t> seen;
    siginfo_t ended{};
    while (seen.size() < count && ended.si_pid == 0) {
      for (const pid_t child : children(pid)) seen.insert(child);
      waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOHANG | WNOWAIT);
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }

  fs::path folder_;
};

// 4 models x 5 contexts x 2 repeats; every other kill takes the cell's process first.
TEST_F(SweepResumeTest, KilledAtRandomTenTimesLosesNothingAndRepeatsNothing) {
  const std::string sweep = write_sweep(R"(
[sweep]
repeats = 2
[grid]
model = ["fake:ok", "fake:sleep:0.01", "fake:unsupported", "fake:exit:3"]
context = "1..16*2"
)");
  const fs::path calm = folder_ / "calm.sqlite", killed = folder_ / "killed.sqlite";
  ASSERT_EQ(run({"sweep", sweep, "--store", calm.string()}), 0);
  const auto expected = outcomes(calm);
  ASSERT_EQ(expected.size(), 40U);

  const auto seed = std::random_device()();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937 random(seed);
  int kills = 0;
  size_t kept = 0;
  for (int attempt = 0; kills < 10; ++attempt) {
    const pid_t pid = start({"sweep", sweep, "--store", killed.string()});
    // Anywhere from before the store is open to several cells in, whatever the machine's speed.
    await_cells(pid, random() % 6);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 10000));
    if (attempt % 2 == 1)
      for (const pid_t child : children(pid)) kill(child, SIGKILL);
    kill(pid, SIGKILL);
    if (wait(pid) == -SIGKILL) ++kills;
    if (fs::exists(killed) && fs::file_size(killed) > 0) {
      const auto now = outcomes(killed);
      EXPECT_GE(now.size(), kept) << "a result that was kept is gone";
      kept = now.size();
      // Done before it was killed ten times: start again, so that there are ten kills.
      if (kept == expected.size() && kills < 10) {
        for (const char* suffix : {"", "-wal", "-shm"}) fs::remove(killed.string() + suffix);
        kept = 0;
      }
    }
  }
  ASSERT_EQ(run({"sweep", sweep, "--store", killed.string()}), 0);
  EXPECT_EQ(outcomes(killed), expected);
}

TEST_F(SweepResumeTest, ShardsMergedAreTheWhole) {
  const std::string sweep =
      write_sweep("[grid]\nmodel = ['fake:ok', 'fake:unsupported']\ncontext = '1..64*2'\n");
  std::vector<std::string> merge = {"merge", (folder_ / "all.sqlite").string()};
  for (int i = 1; i <= 3; ++i) {
    merge.push_back((folder_ / fmt::format("{}.sqlite", i)).string());
    ASSERT_EQ(run({"sweep", sweep, "--store", merge.back(), "--shard", fmt::format("{}/3", i)}), 0);
  }
  ASSERT_EQ(run({"sweep", sweep, "--store", (folder_ / "whole.sqlite").string()}), 0);
  ASSERT_EQ(run(merge), 0);
  EXPECT_EQ(outcomes(folder_ / "all.sqlite"), outcomes(folder_ / "whole.sqlite"));
  EXPECT_EQ(run({"merge", merge[1], merge[1]}), 2);
  EXPECT_EQ(run({"merge", merge[1], (folder_ / "none.sqlite").string()}), 2);
}

// SIGINT leaves the running cell its time, SIGTERM does not; both leave a store to go on from.
TEST_F(SweepResumeTest, StopsCleanlyWhenAsked) {
  const std::string sweep =
      write_sweep("[grid]\nmodel = ['fake:sleep:0.3', 'fake:sleep:0.31']\ncontext = '1..16*2'\n");
  const std::string store = (folder_ / "s.sqlite").string();
  for (const int signal : {SIGINT, SIGTERM}) {
    const pid_t pid = start({"sweep", sweep, "--store", store});
    while (children(pid).empty()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    kill(pid, signal);
    EXPECT_EQ(wait(pid), 1);
  }
  const size_t left = 10 - outcomes(store).size();
  EXPECT_GE(left, 5U);
  EXPECT_EQ(run({"sweep", sweep, "--store", store}), 0);
  EXPECT_EQ(outcomes(store).size(), 10U);
}

// The second waits for the cell that the first has, and takes it over when the first is killed.
TEST_F(SweepResumeTest, ASweepTakesOverWhatAKilledOneWasMeasuring) {
  const std::string sweep = write_sweep("[grid]\nmodel = 'fake:sleep:1'\ncontext = 1\n");
  const std::string store = (folder_ / "s.sqlite").string();
  const pid_t first = start({"sweep", sweep, "--store", store});
  while (children(first).empty()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const pid_t second = start({"sweep", sweep, "--store", store});
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_TRUE(children(second).empty()) << "both are measuring one cell";
  kill(first, SIGKILL);
  wait(first);
  EXPECT_EQ(wait(second), 0);
  EXPECT_EQ(outcomes(store).size(), 1U);
}

TEST_F(SweepResumeTest, CompareTellsADifferenceFromNone) {
  const std::string sweep = write_sweep("[grid]\nmodel = 'fake:ok'\ncontext = '1k..16k*2'\n");
  const auto measure = [&](const char* scale, const char* name) {
    setenv("TIDEMARK_FAKE_SCALE", scale, 1);
    const std::string store = (folder_ / name).string();
    EXPECT_EQ(run({"sweep", sweep, "--store", store}), 0);
    unsetenv("TIDEMARK_FAKE_SCALE");
    return store;
  };
  const std::string base = measure("1", "a"), again = measure("1.002", "b"),
                    slow = measure("1.2", "c");
  EXPECT_EQ(run({"compare", base, again}), 0);
  EXPECT_EQ(run({"compare", base, slow}), 1);
  EXPECT_EQ(run({"compare", base, slow, "--json"}), 1);
  EXPECT_EQ(run({"compare", base, slow, "--threshold", "30"}), 0);
  EXPECT_EQ(run({"compare", slow, base}), 0);
  EXPECT_EQ(run({"compare", base, base + "@nothing"}), 2);
  EXPECT_EQ(run({"compare", base, (folder_ / "none").string()}), 2);
}

TEST_F(SweepResumeTest, WrongRequestsEndWithTwo) {
  const std::string sweep = write_sweep("[grid]\nmodel = 'no-such-model'\ncontext = 1\n");
  const std::string store = (folder_ / "s.sqlite").string();
  EXPECT_EQ(run({"sweep", sweep, "--store", store}), 2);
  EXPECT_FALSE(fs::exists(store));
  EXPECT_EQ(run({"sweep", (folder_ / "none.toml").string()}), 2);
  const std::string good = write_sweep("[grid]\nmodel = 'fake:ok'\ncontext = 1\n");
  EXPECT_EQ(run({"sweep", good, "--store", store, "--shard", "3/2"}), 2);
  EXPECT_EQ(run({"sweep", good, "--store", store, "--retry", "everything"}), 2);
}

}  // namespace
}  // namespace tidemark
