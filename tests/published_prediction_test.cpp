// Predictions from datasheets against what was measured on other people's machines:
// tests/data/published. The bars are those the project set itself.
#include <gtest/gtest.h>
#include <unistd.h>

#include "app/prediction_error.h"
#include "app/report_study.h"
#include "base/error.h"
#include "base/file.h"

namespace tidemark {
namespace {

ErrorTable published(const std::string& file) {
  return against_published(std::string(TIDEMARK_TEST_DATA) + "/published/" + file);
}

ErrorSummary of(const std::vector<ErrorSummary>& summaries, const std::string& quantity) {
  for (const ErrorSummary& s : summaries)
    if (s.quantity == quantity) return s;
  ADD_FAILURE() << "no " << quantity;
  return {};
}

TEST(PublishedPrediction, MemoryTotalsFrom4KTokensUp) {
  const ErrorTable table = published("memory.csv");
  EXPECT_TRUE(table.skipped.empty());
  const ErrorSummary memory = of(summarize(table, 4096), "memory");
  EXPECT_EQ(memory.cells, 80U);
  EXPECT_LE(memory.median, 0.05);
  EXPECT_LE(memory.worst, 0.15);
}

TEST(PublishedPrediction, TimesAndWhoIsFaster) {
  const std::vector<ErrorSummary> all = summarize(published("latency.csv"), 0);
  const ErrorSummary ttft = of(all, "TTFT"), tpot = of(all, "TPOT");
  EXPECT_EQ(ttft.cells, 14U);
  EXPECT_LE(ttft.median, 0.30);
  EXPECT_LE(tpot.median, 0.30);
  EXPECT_EQ(ttft.ordered, ttft.pairs);
  EXPECT_EQ(tpot.ordered, tpot.pairs);
  // Passes under a profiler, of other models than the above.
  const ErrorSummary passes = of(summarize(published("operators.csv"), 0), "TTFT (profiled)");
  EXPECT_EQ(passes.cells, 22U);
  EXPECT_LE(passes.median, 0.30);
}

// Our own cells, kept out of the calibration of the same device: data/measured.
TEST(OwnPrediction, WithACalibratedProfile) {
  const std::string folder = TIDEMARK_SOURCE "/data/measured/";
  for (const auto& [file, profile] : {std::pair("nvidia-h200.json", "h200-calibrated"),
                                      std::pair("xeon-amx-8.json", "xeon-amx-8-calibrated")}) {
    const ErrorTable table =
        against_records(read_study_records(folder + file, {}), load_profile(profile));
    EXPECT_TRUE(table.skipped.empty());
    for (const ErrorSummary& s : summarize(table, 0)) {
      EXPECT_GE(s.cells, 12U) << s.quantity;
      EXPECT_LE(s.median, s.quantity == "memory" ? 0 : 0.10) << profile << " " << s.quantity;
      EXPECT_LE(s.worst, s.quantity == "memory" ? 0 : 0.30) << profile << " " << s.quantity;
    }
  }
}

TEST(PublishedPrediction, TheErrorTableHasEveryCell) {
  const ErrorTable table = published("latency.csv");
  EXPECT_EQ(table.rows.size(), 28U);
  const std::string text = error_markdown(table);
  EXPECT_NE(text.find("| mamba2-780m | 32768 | 756.7 ms |"), std::string::npos) << text;
}

// Two sequences: twice the logits (50280 words of 2 bytes) of Mamba-130m, and rows of their own.
TEST(PublishedPrediction, BatchesAreTheirOwnCells) {
  const std::string file = testing::TempDir() + fmt::format("tidemark_published_{}.csv", getpid());
  write_text(file,
             "device,model,batch,context_tokens,total_mib\n"
             "RTX 4090,mamba-130m,1,8192,1000\n"
             "RTX 4090,mamba-130m,2,8192,2000\n");
  const ErrorTable table = against_published(file);
  std::filesystem::remove(file);
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_EQ(table.rows[0].cell, "");
  EXPECT_EQ(table.rows[1].cell, "batch 2");
  EXPECT_GT(table.rows[1].predicted - table.rows[0].predicted, 8192 * 50280 * 2 / 1048576.0);
}

TEST(ErrorSummary, CountsMediansIntervalsAndOrders) {
  ErrorTable table;
  const auto row = [&](std::string model, double measured, double predicted) {
    table.rows.push_back({.quantity = "TTFT",
                          .device = "d",
                          .model = std::move(model),
                          .context = 8192,
                          .cell = "",
                          .measured = measured,
                          .predicted = predicted,
                          .low = 0.8 * predicted,
                          .high = 1.2 * predicted});
  };
  row("a", 1, 1.1);  // 10 % off
  row("b", 2, 1.0);  // half off, and it is not faster than a
  row("c", 4, 4.8);  // 20 % off
  const ErrorSummary s = of(summarize(table, 0), "TTFT");
  EXPECT_NEAR(s.median, 0.2, 1e-12);
  EXPECT_NEAR(s.worst, 0.5, 1e-12);
  EXPECT_EQ(s.inside, 2U);
  EXPECT_EQ(s.pairs, 3U);
  EXPECT_EQ(s.ordered, 2U);
  EXPECT_TRUE(summarize(table, 8193).empty());
}

}  // namespace
}  // namespace tidemark
