#include "app/compare.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "measure/stats.h"

namespace tidemark {
namespace {

// Samples spread by 1 % around a center.
Record record_of(int64_t context, double ttft_s, int64_t n = 15) {
  Record r;
  r.cell = {.model = "m", .device = "cpu", .context = context};
  std::vector<double> samples;
  for (int64_t i = 0; i < n; ++i)
    samples.push_back(ttft_s *
                      (1 + 0.01 * static_cast<double>(i - n / 2) / static_cast<double>(n)));
  r.metrics.ttft_s = summarize(samples);
  r.memory.predicted[Tag::weights] = 1000;
  return r;
}

const MetricComparison& find(const Comparison& c, std::string_view metric) {
  for (const MetricComparison& m : c.metrics)
    if (m.metric == metric) return m;
  throw Error("no such metric");
}

Comparison run(const std::vector<Record>& a, const std::vector<Record>& b) {
  return compare(a, b, {});
}

TEST(Compare, TheSameIsTheSame) {
  const Comparison c = run({record_of(1, 1.0)}, {record_of(1, 1.0)});
  EXPECT_FALSE(c.any_worse());
  EXPECT_DOUBLE_EQ(find(c, "ttft").ratio, 1);
  EXPECT_DOUBLE_EQ(find(c, "memory").ratio, 1);
}

TEST(Compare, SlowerBeyondTheThresholdIsWorse) {
  const Comparison c = run({record_of(1, 1.0)}, {record_of(1, 1.2)});
  EXPECT_TRUE(c.any_worse());
  EXPECT_EQ(find(c, "ttft").verdict, Verdict::worse);
  EXPECT_NEAR(find(c, "ttft").ratio, 1.2, 1e-9);
  EXPECT_GT(find(c, "ttft").low, 1.15);
  EXPECT_LT(find(c, "ttft").p, 1e-3);
  EXPECT_EQ(find(run({record_of(1, 1.2)}, {record_of(1, 1.0)}), "ttft").verdict, Verdict::better);
}

TEST(Compare, SignificantButSmallIsTheSame) {
  const Comparison c = run({record_of(1, 1.0)}, {record_of(1, 1.03)});
  EXPECT_LT(find(c, "ttft").p, 1e-3);
  EXPECT_EQ(find(c, "ttft").verdict, Verdict::same);
}

// Of 3 against 3 samples no order is rarer than 1 in 10.
TEST(Compare, LargeButTooFewSamplesIsTheSame) {
  EXPECT_FALSE(run({record_of(1, 1.0, 3)}, {record_of(1, 2.0, 3)}).any_worse());
}

// One of three processes was unlucky: that is the machine, not the change.
TEST(Compare, RepeatsMustAgree) {
  const std::vector<Record> a = {record_of(1, 1.0), record_of(1, 1.5), record_of(1, 1.0)};
  const std::vector<Record> slow = {record_of(1, 1.4), record_of(1, 1.4), record_of(1, 1.4)};
  EXPECT_EQ(find(run(a, slow), "ttft").note, "repeats overlap");
  EXPECT_FALSE(run(a, slow).any_worse());
  const std::vector<Record> slower = {record_of(1, 1.7), record_of(1, 1.6), record_of(1, 1.8)};
  EXPECT_TRUE(run(a, slower).any_worse());
}

// p of one test among 40 is multiplied by up to 40.
TEST(Compare, AdjustsForManyCells) {
  std::vector<Record> a, b;
  for (int64_t i = 1; i <= 40; ++i) {
    a.push_back(record_of(i, 1.0, 5));
    b.push_back(record_of(i, i == 1 ? 2.0 : 1.0, 5));
  }
  EXPECT_NEAR(find(run({a[0]}, {b[0]}), "ttft").p, 2.0 / 252, 1e-9);  // exact: 2 of C(10, 5)
  EXPECT_NEAR(find(run(a, b), "ttft").p, 40 * 2.0 / 252, 1e-9);
  EXPECT_TRUE(run({a[0]}, {b[0]}).any_worse());
  EXPECT_FALSE(run(a, b).any_worse());
}

TEST(Compare, MemoryIsExact) {
  Record more = record_of(1, 1.0);
  more.memory.predicted[Tag::logits] = 60;
  EXPECT_EQ(find(run({record_of(1, 1.0)}, {more}), "memory").verdict, Verdict::worse);
  more.memory.predicted[Tag::logits] = 40;
  EXPECT_EQ(find(run({record_of(1, 1.0)}, {more}), "memory").verdict, Verdict::same);
}

TEST(Compare, OutcomesCount) {
  Record failed = record_of(1, 1.0);
  failed.outcome = Outcome::out_of_memory;
  const Comparison c = run({record_of(1, 1.0)}, {failed});
  EXPECT_TRUE(c.any_worse());
  EXPECT_EQ(find(c, "outcome").note, "ok -> out_of_memory");
  EXPECT_FALSE(run({failed}, {record_of(1, 1.0)}).any_worse());
  EXPECT_FALSE(run({failed}, {failed}).any_worse());
}

StoredRecord stored(Record record, const std::string& request) {
  return {.place = SweepPlace{request, 0}, .record = std::move(record)};
}

// A process that dies before it speaks is stored with the cell as it was asked for.
TEST(Compare, FindsTheCellOfOneThatDiedBeforeItSpoke) {
  Record ok = record_of(600, 1.0);
  ok.cell = {.model = "hymba-1.5b",
             .family = "hymba",
             .device = "cpu",
             .context = 600,
             .chunk = 728,
             .threads = 2};
  Record dead = ok;
  dead.cell = {.model = "Hymba-1.5B", .device = "cpu", .context = 600, .chunk = 600};
  dead.outcome = Outcome::failed;
  dead.metrics = {};
  const Sides sides = sides_of({stored(ok, "r")}, {stored(dead, "r")});
  EXPECT_EQ(find(run(sides.a, sides.b), "outcome").note, "ok -> failed");
  EXPECT_TRUE(run(sides.a, sides.b).any_worse());
  const Sides back = sides_of({stored(dead, "r")}, {stored(ok, "r")});
  EXPECT_EQ(find(run(back.a, back.b), "outcome").verdict, Verdict::better);
  const Sides others = sides_of({stored(ok, "r")}, {stored(dead, "another")});
  EXPECT_THROW(run(others.a, others.b), Error);
}

TEST(Compare, FindsAFolderThatAnOlderStoreCallsByItsLastName) {
  Record old = record_of(1, 1.0);
  old.cell.family = "llama";
  Record now = old;
  now.cell.model = "checkpoints/m";
  const Sides sides = sides_of({stored(old, "r")}, {stored(now, "r")});
  EXPECT_EQ(find(run(sides.a, sides.b), "ttft").cell.model, "checkpoints/m");
  now.cell.threads = 3;
  const Sides others = sides_of({stored(old, "r")}, {stored(now, "r")});
  EXPECT_THROW(run(others.a, others.b), Error) << "another cell";
}

TEST(Compare, CountsWhatHasNoPartner) {
  const Comparison c =
      run({record_of(1, 1.0), record_of(2, 1.0)}, {record_of(1, 1.0), record_of(3, 1.0)});
  EXPECT_EQ(c.only_a, 1);
  EXPECT_EQ(c.only_b, 1);
  EXPECT_THROW(run({record_of(1, 1.0)}, {record_of(2, 1.0)}), Error);
}

Record on_machine(Record record, const std::string& name) {
  record.provenance.device_name = record.provenance.cpu = name;
  return record;
}

// Also where no cell is of both; one that died before it said where it ran is of none.
TEST(Compare, ASideHasOneMachineADevice) {
  const Record one = on_machine(record_of(1, 1.0), "EPYC"), two = record_of(2, 1.0);
  EXPECT_THROW(run({one, on_machine(two, "Xeon")}, {one}), Error);
  EXPECT_THROW(run({one}, {one, on_machine(two, "Xeon")}), Error);
  Record dead = record_of(1, 1.0);
  dead.outcome = Outcome::failed;
  dead.provenance.cpu = "EPYC";
  EXPECT_EQ(find(run({one}, {one, dead}), "outcome").note, "ok -> failed");
}

TEST(Compare, SaysThatMachinesDiffer) {
  const Record a = on_machine(record_of(1, 1.0), "EPYC"), b = on_machine(a, "Xeon");
  EXPECT_TRUE(run({a}, {a}).other_machines.empty());
  EXPECT_EQ(run({a}, {b}).other_machines,
            (std::vector<std::string>{"cpu of A is 'EPYC', of B 'Xeon'"}));
}

TEST(Compare, LooksAtTheEnergyOfDecodeToo) {
  Record a = record_of(1, 1.0);
  std::vector<Record> as(6, a), bs(6, a);
  for (size_t i = 0; i < 6; ++i) {
    as[i].decode_energy = Energy{.total_j = 1 + 0.001 * static_cast<double>(i)};
    bs[i].decode_energy = Energy{.total_j = 1.5 + 0.001 * static_cast<double>(i)};
  }
  EXPECT_EQ(find(run(as, bs), "decode energy").verdict, Verdict::worse);
}

}  // namespace
}  // namespace tidemark
