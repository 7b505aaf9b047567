#include "sweep/run_sweep.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "record/json.h"

namespace tidemark {
namespace {

StopRequests nobody_stops = 0;

class RunSweepTest : public ::testing::Test {
 protected:
  RunSweepTest()
      : path_(::testing::TempDir() + fmt::format("tidemark_run_sweep_{}.sqlite", getpid())) {
    std::filesystem::remove(path_);
    options_.provenance.commit = "abc";
    options_.limits = [](const Cell&) { return ChildLimits{}; };
    options_.command = [this](const Cell& cell) {
      ++children_;
      return std::vector<std::string>{"/bin/sh", "-c", cell.model};
    };
  }
  ~RunSweepTest() override {
    for (const char* file : {"", ".lock"}) std::filesystem::remove(path_.string() + file);
  }

  // Cells whose model is the shell script that stands for them.
  bool sweep(const std::vector<std::string>& scripts,
             const StopRequests& stop_requests = nobody_stops) {
    Store store(path_, Store::Open::create);
    std::vector<Job> jobs;
    for (const std::string& script : scripts)
      jobs.push_back({{script, 0}, Cell{.model = script, .context = 1}});
    return run_sweep(store, jobs, options_, stop_requests);
  }
  std::vector<Record> records() {
    std::vector<Record> list;
    for (StoredRecord& row : read_records(Store(path_))) list.push_back(std::move(row.record));
    return list;
  }
  Record only() {
    const auto list = records();
    EXPECT_EQ(list.size(), 1U);
    return list.empty() ? Record{} : list.front();
  }

  std::filesystem::path path_;
  SweepOptions options_;
  int children_ = 0;
};

std::string echo(const Record& record) {
  return fmt::format("echo '{}'\n", to_json(record).dump());
}

Record known(const std::string& model, Outcome outcome) {
  Record r;
  r.cell = {.model = model, .family = "resolved", .context = 7};
  r.outcome = outcome;
  r.provenance.commit = "abc";
  return r;
}

TEST_F(RunSweepTest, KeepsTheChildsLastWord) {
  EXPECT_TRUE(sweep({echo(known("m", Outcome::failed)) + echo(known("m", Outcome::unsupported))}));
  EXPECT_EQ(only(), known("m", Outcome::unsupported));
}

TEST_F(RunSweepTest, ACrashIsAnOutcomeOfWhatTheChildHadSaid) {
  EXPECT_TRUE(sweep({echo(known("m", Outcome::failed)) + "echo half >&2; kill -SEGV $$"}));
  EXPECT_EQ(only().outcome, Outcome::failed);
  EXPECT_EQ(only().reason, "crashed: SIGSEGV (Segmentation fault): half");
  EXPECT_EQ(only().cell.family, "resolved");
}

TEST_F(RunSweepTest, EveryEndHasAReasonAndTheSweepGoesOn) {
  options_.limits = [](const Cell& cell) {
    return ChildLimits{.time_s = cell.model.starts_with("sleep") ? 0.2 : 0.0, .memory_bytes = 0};
  };
  EXPECT_TRUE(
      sweep({"exit 3", "echo why >&2; exit 3", "true", "echo '{'", "sleep 60", "kill -ABRT $$"}));
  std::map<std::string, std::string> ends;
  for (const Record& r : records()) {
    ends[r.cell.model] = fmt::format("{}: {}", name(r.outcome), r.reason);
    EXPECT_EQ(r.provenance.commit, "abc");
  }
  EXPECT_EQ(ends, (std::map<std::string, std::string>{
                      {"exit 3", "failed: exit status 3"},
                      {"echo why >&2; exit 3", "failed: exit status 3: why"},
                      {"true", "failed: ended without a result"},
                      {"echo '{'", "failed: ended without a result"},
                      {"sleep 60", "timed_out: took longer than 0.2 s"},
                      {"kill -ABRT $$", "failed: crashed: SIGABRT (Aborted)"}}));
}

// kill -9 from outside says nothing about the cell: it gets a second try, at the end.
TEST_F(RunSweepTest, ACellKilledFromOutsideIsTriedAgainOnce) {
  const std::string once = ::testing::TempDir() + fmt::format("tidemark_once_{}", getpid());
  std::filesystem::remove(once);
  const std::string script = "test -e " + once + " || { touch " + once + "; kill -KILL $$; }\n" +
                             echo(known("m", Outcome::ok));
  EXPECT_TRUE(sweep({script, "true"}));
  std::filesystem::remove(once);
  EXPECT_EQ(children_, 3);
  ASSERT_EQ(records().size(), 2U);
  EXPECT_EQ(records()[0].outcome, Outcome::ok);
}

TEST_F(RunSweepTest, ACellKilledTwiceHasFailed) {
  EXPECT_TRUE(sweep({"kill -KILL $$"}));
  EXPECT_EQ(children_, 2);
  EXPECT_EQ(only().reason, "killed twice: SIGKILL (Killed)");
}

TEST_F(RunSweepTest, ACellKilledTwiceIsTheOneItHadSaidItWas) {
  EXPECT_TRUE(sweep({echo(known("m", Outcome::failed)) + "kill -KILL $$"}));
  EXPECT_EQ(only().reason, "killed twice: SIGKILL (Killed)");
  EXPECT_EQ(only().cell, known("m", Outcome::failed).cell);
}

TEST_F(RunSweepTest, GoesOnWhereItStopped) {
  StopRequests stop = 0;
  options_.after = [&](const Job&, const Record&, const SweepProgress& p) {
    if (p.done == 2) stop = 1;
  };
  const std::vector<std::string> scripts = {"exit 1", "exit 2", "exit 3"};
  EXPECT_FALSE(sweep(scripts, stop));
  EXPECT_EQ(children_, 2);
  EXPECT_EQ(records().size(), 2U);
  EXPECT_TRUE(sweep(scripts));
  EXPECT_EQ(children_, 3);
  EXPECT_EQ(records().size(), 3U);
  EXPECT_TRUE(sweep(scripts));
  EXPECT_EQ(children_, 3);

  options_.provenance.commit = "another build";
  EXPECT_TRUE(sweep(scripts));
  EXPECT_EQ(children_, 6);
  EXPECT_EQ(records().size(), 6U);
}

TEST_F(RunSweepTest, RetriesTheOutcomesItIsToldTo) {
  sweep({"exit 1", echo(known("m", Outcome::unsupported))});
  options_.retry = {Outcome::failed};
  EXPECT_TRUE(sweep({"exit 1", echo(known("m", Outcome::unsupported))}));
  EXPECT_EQ(children_, 3);
  EXPECT_EQ(records().size(), 2U);
}

// Each script leaves a line, so that none runs twice unseen.
TEST_F(RunSweepTest, SweepsIntoOneStoreShareTheCells) {
  const std::filesystem::path log = path_.string() + ".log";
  std::vector<std::string> scripts;
  for (int i = 0; i < 12; ++i)
    scripts.push_back(fmt::format("echo {} >>{}; sleep 0.05; exit 3", i, log.string()));
  sweep(scripts);  // all failed
  std::filesystem::remove(log);
  options_.retry = {Outcome::failed};
  options_.command = [](const Cell& cell) {
    return std::vector<std::string>{"/bin/sh", "-c", cell.model};
  };
  bool complete[2] = {};
  std::thread other([&] { complete[0] = sweep(scripts); });
  complete[1] = sweep(scripts);
  other.join();
  EXPECT_TRUE(complete[0] && complete[1]);
  EXPECT_EQ(records().size(), scripts.size());
  std::multiset<std::string> ran;
  std::ifstream lines(log);
  for (std::string line; std::getline(lines, line);) ran.insert(line);
  EXPECT_EQ(ran.size(), scripts.size());
  std::filesystem::remove(log);
}

TEST_F(RunSweepTest, ProgressAddsUp) {
  std::vector<SweepProgress> seen;
  options_.after = [&](const Job&, const Record&, const SweepProgress& p) { seen.push_back(p); };
  sweep({"exit 1", echo(known("m", Outcome::ok)), "exit 3"});
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_EQ(seen[0].total, 3);
  EXPECT_EQ(seen[0].done, 1);
  EXPECT_EQ(seen[2].done, 3);
  EXPECT_EQ(seen[2].not_ok, 2);
  EXPECT_DOUBLE_EQ(*seen[0].left_s, seen[0].elapsed_s * 2);
  EXPECT_DOUBLE_EQ(*seen[2].left_s, 0);
}

}  // namespace
}  // namespace tidemark
