// Sweeps, stores and what is asked of them, through the program.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "app/report_study.h"
#include "base/error.h"
#include "measure/stats.h"
#include "run_program.h"
#include "store/store.h"

namespace tidemark {
namespace {

const std::string golden = std::string(TIDEMARK_TEST_DATA) + "/golden/";

class CliStudy : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              fmt::format("tidemark_study_{}_{}", getpid(),
                          testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  // Sweeps made-up models into a store.
  std::string sweep(const std::string& store, const std::string& grid,
                    const std::string& environment = "") {
    std::ofstream(folder_ / (store + ".toml")) << "[sweep]\nrepeats = 2\n[grid]\n" << grid << "\n";
    const Ran ran =
        tidemark("sweep " + path(store + ".toml") + " --store " + path(store), environment);
    EXPECT_EQ(ran.code, 0) << ran.err;
    return path(store);
  }
  std::filesystem::path folder_;
};

// ---- compare

const std::string fake_grid = "model = [\"fake:ok\"]\ncontext = \"1k..8k*2\"";

TEST_F(CliStudy, CompareOfTwoRunsOfOneCommitIsNoRegression) {
  const Ran ran = tidemark("compare " + sweep("a", fake_grid) + " " + sweep("b", fake_grid));
  EXPECT_EQ(ran.code, 0) << ran.out << ran.err;
  EXPECT_NE(ran.out.find("8 comparisons: 0 worse"), std::string::npos) << ran.out;
}

TEST_F(CliStudy, CompareOfSlowerMeasurementsExitsWithOne) {
  const std::string a = sweep("a", fake_grid), b = sweep("b", fake_grid, "TIDEMARK_FAKE_SCALE=1.3");
  const Ran slower = tidemark("compare " + a + " " + b + " --json");
  EXPECT_EQ(slower.code, 1) << slower.err;
  const auto json = nlohmann::json::parse(slower.out);
  EXPECT_EQ(json.at("comparisons").size(), 8U);  // TTFT and TPOT of four contexts
  for (const auto& row : json.at("comparisons")) {
    EXPECT_NEAR(row.at("ratio").get<double>(), 1.3, 1e-9);
    EXPECT_EQ(row.at("verdict"), "worse");
  }
  EXPECT_EQ(tidemark("compare " + b + " " + a).code, 0) << "faster is no regression";
  EXPECT_EQ(tidemark("compare " + a + " " + b + " --threshold 40").code, 0);
}

TEST_F(CliStudy, CompareOfTwoCommitsInOneStore) {
  const std::string both = sweep("a", fake_grid);
  const std::vector<StoredRecord> before = read_records(Store(both));
  const std::vector<StoredRecord> after =
      read_records(Store(sweep("b", fake_grid, "TIDEMARK_FAKE_SCALE=1.3")));
  {
    Store store(both, Store::Open::create);
    for (StoredRecord row : after) {
      row.record.provenance.commit = "feedbee";
      row.record.provenance.dirty = false;
      insert_once(store, *row.place, row.record);
    }
  }
  const std::string first = commit_label(before.front().record.provenance);
  EXPECT_EQ(tidemark("compare " + both + "@" + first + " " + both + "@feed").code, 1);
  EXPECT_EQ(tidemark("compare " + both + "@feed " + both + "@" + first).code, 0);
  EXPECT_EQ(tidemark("compare " + both + "@feed " + both + "@feed").code, 0);
  expect_error("compare " + both + " " + both + "@feed", {"one commit", "feedbee"});

  // A clean build beside its dirty twin, in a store and in JSON.
  {
    Store store(both, Store::Open::create);
    for (StoredRecord row : after) {
      row.record.provenance.commit = "feedbee";
      row.record.provenance.dirty = true;
      insert_once(store, *row.place, row.record);
    }
  }
  const std::string json = path("both.json");
  ASSERT_EQ(tidemark("export " + both + " --json -o " + json).code, 0);
  for (const std::string& study : {both, json})
    for (const char* commit : {"feedbee", "feedbee-dirty"})
      EXPECT_EQ(read_study_records(study, commit).size(), 8U) << study << " of " << commit;
}

// ---- a log that cannot be written

TEST_F(CliStudy, AFullOrClosedLogEndsNothing) {
  std::ofstream(path("s.toml")) << "[grid]\nmodel = 'fake:sleep:0.1'\ncontext = [1, 2]\n";
  const std::string sweep = "sweep " + path("s.toml") + " --store ";
  EXPECT_EQ(shell("$TIDEMARK " + sweep + path("full") + " 2>/dev/full"), 0);
  EXPECT_EQ(shell("$TIDEMARK " + sweep + path("closed") + " 2>&-"), 0);
  // Whoever read the pipe is gone before the first line.
  EXPECT_EQ(shell("{ $TIDEMARK " + sweep + path("gone") + "; echo $? >" + path("code") +
                  "; } 2>&1 | true; exit $(cat " + path("code") + ")"),
            0);
  for (const char* store : {"full", "closed", "gone"})
    EXPECT_EQ(read_records(Store(path(store))).size(), 2U) << store;
  EXPECT_EQ(shell("$TIDEMARK show no-such-model 2>/dev/full"), 2);
}

// ---- records that are no measurements

TEST_F(CliStudy, KilledCellsAreExportedAndReported) {
  const std::string store = sweep(
      "s", "model = [\"fake:ok\", \"fake:crash\", \"fake:unsupported\"]\ncontext = [64, 128]");
  for (const char* format : {"--csv", "--json", "--md"}) {
    const Ran ran = tidemark("export " + store + " " + format);
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_NE(ran.out.find("SIGSEGV"), std::string::npos) << ran.out;
  }
  const Ran tables = tidemark("report " + store);
  EXPECT_EQ(tables.code, 0) << tables.err;
  const size_t reason = tables.out.find("SIGSEGV");
  EXPECT_LT(reason, tables.out.find("Time to first token")) << tables.out;
  EXPECT_LT(tables.out.find("12 results of 3 models on cpu: 4 measured, 4 failed, 4 unsupported."),
            reason)
      << tables.out;
  const Ran figure = tidemark("report " + store + " --figure ttft --vega -");
  EXPECT_EQ(figure.code, 0) << figure.err;
  EXPECT_TRUE(nlohmann::json::parse(figure.out).contains("$schema"));
}

TEST_F(CliStudy, RunAndExportWriteOneShapeThatReportReads) {
  const std::string file = path("run.json");
  const Ran ran =
      tidemark("run " + golden +
               "mamba-tiny --context 32 --new-tokens 2 --dtype f32 --budget 0.1 --json " + file);
  ASSERT_EQ(ran.code, 0) << ran.err;
  std::ifstream stream(file);
  const auto by_run = nlohmann::json::parse(stream);
  const Ran exported =
      tidemark("export " + sweep("s", "model = \"fake:ok\"\ncontext = 32") + " --json");
  const auto by_export = nlohmann::json::parse(exported.out);
  for (const auto& json : {by_run, by_export}) {
    EXPECT_EQ(json.size(), 2U);
    EXPECT_EQ(json.at("schema"), 1);
    EXPECT_FALSE(json.at("records").at(0).at("provenance").at("cpu").get<std::string>().empty());
  }
  EXPECT_EQ(tidemark("report " + file).code, 0);
}

// ---- models of one name

TEST_F(CliStudy, FoldersOfOneNameAreTwoModels) {
  for (const char* version : {"v1", "v2"}) {
    std::filesystem::create_directories(path(version));
    std::filesystem::copy(golden + "mamba-tiny", path(version) + "/model",
                          std::filesystem::copy_options::recursive);
  }
  std::ofstream(path("s.toml")) << fmt::format(
      "[measure]\nbudget_s = 0.05\noperators = false\nenergy = false\n[grid]\n"
      "model = ['{}', '{}']\ndtype = 'f32'\ncontext = [16, 32]\nnew_tokens = 2\n",
      path("v1/model"), path("v2/model/"));
  const std::string store = path("s");
  ASSERT_EQ(tidemark("sweep " + path("s.toml") + " --store " + store).code, 0);
  std::set<std::string> models;
  for (const StoredRecord& row : read_records(Store(store))) models.insert(row.record.cell.model);
  EXPECT_EQ(models, (std::set<std::string>{path("v1/model"), path("v2/model")}));

  for (const std::string& first : {path("v1/model"), std::string("v1/model")}) {
    const Ran ran = tidemark("crossover " + first + " v2/model --chunk whole --store " + store);
    EXPECT_EQ(ran.code, 0) << ran.err;
  }
  expect_error("crossover model v2/model --store " + store, {"'model'", "v1/model", "v2/model"});
  const Ran exported = tidemark("export " + store + " --csv --model v1/model");
  EXPECT_EQ(std::count(exported.out.begin(), exported.out.end(), '\n'), 3) << exported.out;

  const Ran compared = tidemark("compare " + store + " " + store + " --json");
  std::set<std::string> cells;
  const auto json = nlohmann::json::parse(compared.out);
  for (const auto& row : json.at("comparisons")) cells.insert(row.at("cell").get<std::string>());
  EXPECT_EQ(cells.size(), 4U);
  // Planned from the folders, under names no longer than it takes to tell them apart.
  const Ran limits = tidemark("report " + store + " --figure limits");
  for (const char* model : {"  v1/model ", "  v2/model "})
    EXPECT_NE(limits.out.find(model), std::string::npos) << limits.out;
}

// ---- what a night would be lost with

TEST_F(CliStudy, ASweepIsCheckedBeforeItRuns) {
  const auto expect = [&](const std::string& text, const std::vector<std::string>& words) {
    std::ofstream(path("s.toml")) << text;
    expect_error("sweep " + path("s.toml") + " --store " + path("s"), words);
    EXPECT_FALSE(std::filesystem::exists(path("s")));
  };
  expect("[grid]\nmodel = ['fake:ok',\n 'no-such-model']\ncontext = 5\n",
         {"s.toml:3: model 'no-such-model'"});
  expect("[grid]\nmodel = ['fake:ok', 'gpt-neo-125m']\ncontext = [5,\n'100k']\n",
         {"s.toml:4: context: expected at most the 2017 that gpt-neo-125m has positions for"});
  expect("[sweep]\nprocess_memory = '64KiB'\n[grid]\nmodel = 'fake:ok'\ncontext = 5\n",
         {"s.toml:2: sweep.process_memory: expected more than the ", "before it measures",
          "found 64.00 KiB"});
}

// ---- outputs

TEST_F(CliStudy, NoOutputTakesThePlaceOfAnInput) {
  const std::string store = sweep("s", fake_grid);
  for (const std::string& command : {"report " + store + " -o ", "export " + store + " --csv -o ",
                                     "report " + store + " --figure ttft --vega ",
                                     std::string("predict mamba2-130m --on h200 --json "),
                                     std::string("trace mamba2-130m --context 8 -o "),
                                     "run " + golden + "mamba-tiny --context 8 --budget 0 --json "})
    expect_error(command + store, {store, "store of results"});
  EXPECT_EQ(read_records(Store(store)).size(), 8U);

  const std::string json = path("records.json");
  ASSERT_EQ(tidemark("export " + store + " --json -o " + json).code, 0);
  expect_error("report " + json + " -o " + json, {json, "what is read"});
  expect_error("report " + store + " --figure ttft --vega - --svg -", {"standard output"});
  // However the path is written.
  expect_error("report " + store + " --figure ttft --vega " + path("v") + " --svg " + path("./v"),
               {"expected one output to go there, found two"});
  expect_error("predict mamba2-130m --on h200 --json " + path("p") + " --store " + path("p"),
               {"expected one output to go there, found two"});
  expect_error("whatif mamba2-130m --on h200 --scale bandwidth=2x --json --figure -",
               {"standard output"});
  const Ran trace = tidemark("trace " + golden + "mamba-tiny --context 8 --dtype f32 -o -");
  EXPECT_EQ(trace.code, 0) << trace.err;
  EXPECT_TRUE(nlohmann::json::parse(trace.out).contains("traceEvents")) << trace.out.substr(0, 99);
}

TEST_F(CliStudy, AStoreThatCannotBeIsRefusedBeforeAnythingIsComputed) {
  for (const std::string& store : {path("no/such/folder/s"), std::string("/dev/full")}) {
    const Ran ran = tidemark("predict mamba2-130m --on h200 --store " + store);
    EXPECT_EQ(ran.code, 2);
    EXPECT_EQ(ran.out, "");
    EXPECT_NE(ran.err.find(store), std::string::npos) << ran.err;
  }
  EXPECT_FALSE(std::filesystem::exists("/dev/full-journal"));
}

// ---- crossover

// Both metrics are powers of the context, c·n^e, so that straight lines between the measured
// contexts in log-log are exact and the crossing is known.
constexpr int64_t meta_tokens = 128;  // as Hymba has them: in the chunk, not in the context
Record record_at(const std::string& model, int64_t context, double ttft_s, double energy_j) {
  Record r;
  r.cell = {.model = model,
            .device = "cpu",
            .dtype = DType::bf16,
            .context = context,
            .new_tokens = 8,
            .chunk = context <= 512 ? context + meta_tokens : 512,
            .threads = 2};
  std::vector<double> samples;
  for (int i = -5; i <= 5; ++i) samples.push_back(ttft_s * (1 + 0.01 * i));
  r.metrics.ttft_s = summarize(samples);
  for (double& s : samples) s /= 100;
  r.metrics.tpot_s = summarize(samples);
  r.prefill_energy = Energy{.total_j = energy_j, .window_s = 2, .sensor = "made up"};
  return r;
}

TEST_F(CliStudy, CrossoverOfMeasuredRecords) {
  {
    Store store(path("s"), Store::Open::create);
    for (int64_t n = 256; n <= 16384; n *= 2) {
      const auto tokens = static_cast<double>(n);
      insert(store, record_at("quadratic", n, 1e-6 * tokens * tokens, 1e-3 * tokens * tokens));
      insert(store, record_at("linear", n, 3e-3 * tokens, 5 * tokens));
      insert(store, record_at("slow", n, tokens * tokens, 1e9 * tokens));
    }
  }
  const auto crossover = [&](const std::string& arguments) {
    const Ran ran = tidemark("crossover " + arguments + " --json --store " + path("s"));
    EXPECT_EQ(ran.code, 0) << ran.err;
    return nlohmann::json::parse(ran.out).at("crossings");
  };
  for (const char* metric : {"ttft", "tpot"}) {
    const auto found = crossover(std::string("quadratic linear --metric ") + metric);
    ASSERT_EQ(found.size(), 1U) << metric;
    EXPECT_NEAR(found[0].at("context").get<double>(), 3000, 1e-6);
    EXPECT_EQ(found[0].at("ahead_after"), "linear");
    // The intervals of the medians are narrower than the samples' 5 % to either side.
    EXPECT_GT(found[0].at("overlap_from").get<double>(), 3000 / 1.11);
    EXPECT_LT(found[0].at("overlap_from").get<double>(), 3000);
    EXPECT_GT(found[0].at("overlap_to").get<double>(), 3000);
    EXPECT_LT(found[0].at("overlap_to").get<double>(), 3000 * 1.11);
  }
  const auto energy = crossover("quadratic linear --metric energy");
  ASSERT_EQ(energy.size(), 1U);
  EXPECT_NEAR(energy[0].at("context").get<double>(), 5000, 1e-6);
  EXPECT_EQ(crossover("linear slow --metric ttft").size(), 0U);
  EXPECT_EQ(crossover("quadratic linear --chunk whole").size(), 0U) << "256 and 512 tokens alone";
  const Ran never = tidemark("crossover linear slow --store " + path("s"));
  EXPECT_NE(never.out.find("never cross: linear is ahead"), std::string::npos) << never.out;
  expect_error("crossover quadratic other --store " + path("s"), {"other", "no ttft"});
  expect_error("crossover quadratic linear --store /no/such", {"/no/such"});

  // The same answers are in the report.
  const Ran report = tidemark("report " + path("s") + " --figure crossovers");
  EXPECT_EQ(report.code, 0) << report.err;
  EXPECT_NE(report.out.find("quadratic  linear  ttft                         3000           2769"),
            std::string::npos)
      << report.out;
}

TEST_F(CliStudy, CrossoverOfMemoryIsPlanned) {
  const Ran ran = tidemark("crossover qwen2.5-0.5b mamba2-780m --metric memory --json");
  ASSERT_EQ(ran.code, 0) << ran.err;
  const auto crossings = nlohmann::json::parse(ran.out).at("crossings");
  ASSERT_EQ(crossings.size(), 1U);
  const auto at = static_cast<int64_t>(crossings[0].at("context").get<double>());
  // On either side of it the two plans say so themselves.
  const auto bytes = [&](const std::string& model, int64_t context) {
    const Ran plan =
        tidemark(fmt::format("explain {} --context {} --new-tokens 1 --json", model, context));
    EXPECT_EQ(plan.code, 0) << plan.err;
    const auto json = nlohmann::json::parse(plan.out);
    int64_t sum = 0;
    for (const auto& tag : json.at("memory_bytes")) sum += tag.get<int64_t>();
    return sum;
  };
  EXPECT_GE(bytes("mamba2-780m", at - 1), bytes("qwen2.5-0.5b", at - 1));
  EXPECT_LT(bytes("mamba2-780m", at), bytes("qwen2.5-0.5b", at));
}

// ---- limit

TEST_F(CliStudy, LimitIsConfirmedByRunningIt) {
  for (const char* model : {"llama-3.2-tiny --memory 2MiB", "mamba2-tiny --memory 2MiB",
                            "llama-3.2-tiny --memory 3MiB --chunk whole --logits all"}) {
    SCOPED_TRACE(model);
    const Ran ran = tidemark("limit " + golden + model + " --dtype f32 --measure");
    EXPECT_EQ(ran.code, 0) << ran.out << ran.err;
    EXPECT_NE(ran.out.find("Confirmed by measurement"), std::string::npos) << ran.out;
    EXPECT_NE(ran.out.find(": ok, high-water mark"), std::string::npos) << ran.out;
    EXPECT_NE(ran.out.find(": out_of_memory: "), std::string::npos) << ran.out;
  }
  const Ran json =
      tidemark("limit " + golden + "mamba2-tiny --memory 2MiB --dtype f32 --measure --json");
  EXPECT_EQ(json.code, 0) << json.err;
  const auto measured = nlohmann::json::parse(json.out).at("measured");
  EXPECT_EQ(measured.at("confirmed"), true);
  EXPECT_EQ(measured.at("probes").at(0).at("outcome"), "ok");
  EXPECT_EQ(measured.at("probes").at(1).at("outcome"), "out_of_memory");
  const Ran none = tidemark("limit " + golden + "llama-3.2-tiny --memory 10KiB --dtype f32");
  EXPECT_EQ(none.code, 1) << none.out;
  EXPECT_NE(none.out.find("weights"), std::string::npos) << "names the tag: " << none.out;
}

// Weights that cannot be read say nothing of memory.
TEST_F(CliStudy, LimitDoesNotTakeAFailedProbeForAFullMemory) {
  std::filesystem::copy(golden + "mamba2-tiny", path("m"));
  std::ofstream(path("m") + "/model.safetensors") << "broken";
  for (const char* form : {"", " --json"}) {
    const Ran ran = tidemark("limit " + path("m") + " --memory 2MiB --dtype f32 --measure" + form);
    EXPECT_EQ(ran.code, 2) << ran.out;
    EXPECT_EQ(ran.out.find("onfirmed"), std::string::npos) << ran.out;
    for (const char* word : {"--measure: at ", "failed", "model.safetensors"})
      EXPECT_NE(ran.err.find(word), std::string::npos) << ran.err;
  }
}

}  // namespace
}  // namespace tidemark
