// The program as people run it: exit codes, error lines, and JSON that adds up.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "run_program.h"

namespace tidemark {
namespace {

const std::string golden = std::string(TIDEMARK_TEST_DATA) + "/golden/";

TEST(Cli, AllOfADevicesMemoryIsItsLimit) {
  const std::string what = "limit qwen2.5-0.5b --chunk whole --json ";
  const Ran on = tidemark(what + "--on raspberry-pi-5");
  EXPECT_EQ(on.code, 0) << on.err;
  EXPECT_EQ(on.out, tidemark(what + "--memory 8GiB").out);
  // Scratch is the device's own: a GPU's products have a workspace that a CPU's have not.
  const auto context = [](const Ran& ran) {
    return nlohmann::json::parse(ran.out)["limits"][0]["context"].get<int64_t>();
  };
  EXPECT_NE(context(tidemark(what + "--on orin-nano-8gb")), context(on));
  expect_error("limit mamba2-130m", {"--memory", "--on"});
  expect_error("limit mamba2-130m --on rtx4090 --memory 1GiB", {"--memory", "--on"});
}

TEST(Cli, TheKeysOfALimitAreDocumented) {
  const Ran ran = tidemark("limit mamba2-130m --memory 8GiB --json");
  ASSERT_EQ(ran.code, 0) << ran.err;
  std::ifstream docs(TIDEMARK_SOURCE "/docs/measuring.md");
  std::string line;
  while (std::getline(docs, line) && !line.starts_with("| `limit` |")) continue;
  EXPECT_EQ(line.find("freed_at_last_use"), std::string::npos) << "is never written";
  const auto json = nlohmann::json::parse(ran.out);
  for (const auto& object : {json, json.at("limits").at(0)})
    for (const auto& [key, value] : object.items())
      EXPECT_NE(line.find("`" + key + "`"), std::string::npos) << key;
}

TEST(Cli, PredictionsAreRecords) {
  const Ran ran =
      tidemark("predict mamba2-130m --on h200 --context 512,1k --new-tokens 4 --json -");
  ASSERT_EQ(ran.code, 0) << ran.err;
  const auto records = nlohmann::json::parse(ran.out)["records"];
  ASSERT_EQ(records.size(), 2U);
  for (const auto& r : records) {
    EXPECT_EQ(r["source"], "predicted");
    double sum = 0;
    for (const auto& row : r["prefill"]["rows"]) {
      EXPECT_TRUE(row.contains("bound"));
      EXPECT_LT(row["time_low_s"], row["time_s"]);
      EXPECT_GT(row["time_high_s"], row["time_s"]);
      sum += row["time_s"].get<double>();
    }
    EXPECT_NEAR(sum, r["metrics"]["ttft_s"]["median"].get<double>(), 1e-9);
    EXPECT_LT(r["metrics"]["ttft_s"]["ci_low"], r["metrics"]["ttft_s"]["median"]);
    EXPECT_GT(r["prefill_energy"]["total_j"], 0);
  }
  expect_error("predict mamba2-130m --on tpu-v9 --context 64", {"tpu-v9", "rtx4090"});
  expect_error("predict mamba2-130m --on h200 --engine-model lazy", {"--engine-model", "lazy"});
}

TEST(Cli, WrongRequestsAreOneLine) {
  expect_error("run no-such-model --context 64", {"no-such-model"});
  expect_error("run mamba2-130m --context 0", {"--context", "at least 1", "0"});
  expect_error("run mamba2-130m --context 1x", {"--context", "1x"});
  expect_error("run mamba2-130m --context 64 --dtype f16", {"dtype", "f16", "bf16"});
  expect_error("run mamba2-130m --context 64 --dtype i32",
               {"i32", "expected f32, bf16, w8a16 or w8a8"});
  expect_error("run mamba2-130m --context 64 --logits some", {"--logits", "some"});
  expect_error("run mamba2-130m --context 64 --batch 0", {"batch", "at least 1"});
  expect_error("run mamba2-130m --context 64 --new-tokens 0", {"new_tokens", "at least 1"});
  expect_error("run mamba2-130m --context 64 --chunk 0", {"--chunk", "0"});
  expect_error("run mamba2-130m --context 64 --threads -1", {"--threads", "-1"});
  expect_error("run mamba2-130m --context 64 --device tpu", {"device", "tpu", "cpu"});
  expect_error("run mamba2-130m --contxt 64", {"--contxt", "--help"});
  expect_error("run", {"model", "--help"});
  expect_error("", {"expected a command", "--help"});
  expect_error("bogus", {"bogus", "--help"});
  expect_error("--bogus", {"--bogus", "--help"});
  expect_error("explain qwen2.5-0.5b --context 1048576m", {"chunk", "steps"});
  expect_error("run mamba2-130m --budget -1", {"--budget", "from 0 up", "-1"});
  expect_error("run mamba2-130m --budget nan", {"--budget", "nan"});
  expect_error("run mamba2-130m --memory-limit 0", {"--memory-limit", "at least 1 byte"});
  expect_error("limit mamba2-130m --memory 0", {"--memory", "at least 1 byte"});
  expect_error("run mamba2-130m --threshold nan", {"--threshold", "nan"});
  expect_error("run mamba2-130m --threshold -0.1", {"--threshold", "-0.1"});
  expect_error("trace mamba2-130m --device cuda:x", {"device", "cuda:N", "cuda:x"});
  expect_error("run mamba2-130m --seed -1", {"--seed: expected a whole number from 0 up", "-1"});
  expect_error("verify /no/such/folder", {"/no/such/folder", "config.json"});
  for (const char* output : {"run mamba2-130m --json ''", "predict mamba2-130m --on h200 --json ''",
                             "predict mamba2-130m --on h200 --store ''", "trace mamba2-130m -o ''",
                             "report s.sqlite -o ''"})
    expect_error(output, {": expected a value, found ''"});
}

// Little output, which fails when the program ends, and much, which fails while it is printed.
TEST(Cli, AFullDiskIsNoSuccess) {
  for (const char* command : {"models", "--help", "completion bash", "explain qwen2.5-0.5b --json",
                              "predict mamba2-130m --on h200 --json -"}) {
    const std::string error = testing::TempDir() + "tidemark_full.err";
    EXPECT_EQ(shell(std::string("$TIDEMARK ") + command + " >/dev/full 2>" + error), 2) << command;
    std::ifstream lines(error);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(lines), {}),
              "tidemark: standard output: cannot be written: No space left on device\n")
        << command;
    EXPECT_EQ(shell(std::string("$TIDEMARK ") + command + " >&- 2>/dev/null"), 2) << command;
  }
}

TEST(Cli, SaysItsVersion) {
  const Ran ran = tidemark("--version");
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_TRUE(ran.out.starts_with("tidemark ")) << ran.out;
  const Ran models = tidemark("predict mamba2-130m --on h200 --json -");
  const auto made = nlohmann::json::parse(models.out).at("records").at(0).at("provenance");
  for (const char* key : {"version", "commit"})
    EXPECT_NE(ran.out.find(made.at(key).get<std::string>()), std::string::npos) << ran.out;
}

TEST(Cli, MoreMemoryThanThereIsIsAResultAndAnError) {
  const Ran ran = tidemark("run qwen2.5-0.5b --context 512m --batch 64 --json -");
  EXPECT_EQ(ran.code, 2) << ran.err;
  EXPECT_NE(ran.err.find("memory"), std::string::npos) << ran.err;
  const auto records = nlohmann::json::parse(ran.out).at("records");
  EXPECT_EQ(records.at(0).at("outcome"), "out_of_memory");
  const Ran limited = tidemark("run " + golden + "mamba2-tiny --context 64 --memory-limit 64KiB");
  EXPECT_EQ(limited.code, 2);
  EXPECT_NE(limited.err.find("weights"), std::string::npos) << "names the tag: " << limited.err;
}

TEST(Cli, RunOnACheckpointAddsUp) {
  const Ran ran = tidemark("run " + golden +
                           "falcon-h1-tiny --context 37 --chunk 16 --batch 2 "
                           "--new-tokens 3 --dtype f32 --budget 1 --json -");
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.err, "") << "a progress bar in a pipe";
  const auto record = nlohmann::json::parse(ran.out).at("records").at(0);
  EXPECT_EQ(record.at("outcome"), "ok");
  // Planned and measured memory agree to the byte, tag by tag.
  EXPECT_EQ(record.at("memory").at("predicted"), record.at("memory").at("high_water"));
  // Rows and gap close to the wall time of the profiled pass.
  for (const char* phase : {"prefill", "decode"}) {
    const auto& profile = record.at(phase);
    double sum = profile.at("gap_s").get<double>();
    for (const auto& row : profile.at("rows")) sum += row.at("time_s").get<double>();
    EXPECT_NEAR(sum, profile.at("wall_s").get<double>(), 1e-9) << phase;
  }
  // Every raw sample is kept, and the median is theirs.
  const auto& ttft = record.at("metrics").at("ttft_s");
  auto samples = ttft.at("samples").get<std::vector<double>>();
  EXPECT_EQ(static_cast<int64_t>(samples.size()), ttft.at("n").get<int64_t>());
  std::sort(samples.begin(), samples.end());
  const size_t n = samples.size();
  EXPECT_NEAR(ttft.at("median").get<double>(), (samples[(n - 1) / 2] + samples[n / 2]) / 2, 1e-12);
}

// The second of two cells cannot be run, and nothing is measured before that is known.
TEST(Cli, RunChecksEverythingBeforeItMeasures) {
  const std::string run = "run " + golden + "gpt-neo-tiny --dtype f32 --budget 0.1 ";
  for (const std::string& wrong :
       {run + "--context 16,100k", run + "no-such-model --context 16",
        run + "--context 16 --json /no/such/folder/out.json", run + "--context 16 --json ."}) {
    const Ran ran = tidemark(wrong);
    EXPECT_EQ(ran.code, 2) << wrong;
    EXPECT_EQ(ran.out, "") << wrong << ": something was measured";
  }
}

// A record could not be written as JSON, nor into a store.
TEST(Cli, ANameThatIsNoPlainTextIsRefusedBeforeItIsMeasured) {
  const std::string folder = testing::TempDir() + "tidemark_lat\xe9n";
  std::filesystem::remove_all(folder);
  std::filesystem::copy(golden + "mamba2-tiny", folder);
  const Ran ran = tidemark("run '" + folder + "' --context 8 --budget 0 --json -");
  EXPECT_EQ(ran.code, 2);
  EXPECT_EQ(ran.out, "");
  EXPECT_NE(ran.err.find("lat\xe9n': expected a name in UTF-8 without control characters"),
            std::string::npos)
      << ran.err;
  std::filesystem::remove_all(folder);
  const Ran redrawn = tidemark("run \"$(printf 'a\033[31mb')\" --context 8");
  EXPECT_EQ(redrawn.code, 2);
  EXPECT_NE(redrawn.err.find("'a\\x1b[31mb': expected a name"), std::string::npos) << redrawn.err;
}

// Killed in the second cell, which is far too long to end: the first is in the file.
TEST(Cli, RunKeepsWhatItHasMeasured) {
  const std::string json = testing::TempDir() + "tidemark_kept.json";
  std::filesystem::remove(json);
  const std::string script =
      "$TIDEMARK run " + golden +
      "mamba-tiny --dtype f32 --no-energy --context 16,4m --budget 0.1 --json " + json +
      " >/dev/null & pid=$!\n"
      "for i in $(seq 600); do test -s " +
      json + " && break; sleep 0.1; done; kill $pid; wait $pid";
  EXPECT_NE(shell(script), 0);
  std::ifstream stream(json);
  const auto records = nlohmann::json::parse(stream).at("records");
  EXPECT_EQ(records.size(), 1U);
  EXPECT_EQ(records.at(0).at("cell").at("context"), 16);
}

TEST(Cli, PromptsFromAFile) {
  const auto file = std::filesystem::path(testing::TempDir()) / "prompt.txt";
  std::ofstream(file) << "1 2 3 4 5\n6 7 8 9 10\n";
  const std::string run = "run " + golden +
                          "mamba-tiny --batch 2 --new-tokens 1 --budget 0.1 "
                          "--dtype f32 --json - --tokens " +
                          file.string();
  EXPECT_EQ(tidemark(run + " --context 5").code, 0);
  expect_error(run + " --context 6", {"prompt.txt", "line 1", "6", "5"});
  std::ofstream(file) << "1 2 128\n";
  expect_error(run + " --context 3", {"prompt.txt:1", "128"});
}

TEST(Cli, VerifyPassesAndFails) {
  for (const char* chunk : {"1", "7", "whole"}) {
    const Ran ran = tidemark(std::string("verify --quiet --chunk ") + chunk + " " + golden +
                             "llama-3.2-tiny " + golden + "mamba2-groups-tiny");
    EXPECT_EQ(ran.code, 0) << ran.out << ran.err;
  }
  EXPECT_EQ(tidemark("verify --tolerance 1e-12 " + golden + "mamba-tiny").code, 1);
}

// Prefill memory does not grow with the prompt, but for the ids themselves (4 bytes each).
TEST(Cli, MemoryIsBoundedByTheChunk) {
  auto peak = [&](const char* context) {
    const Ran ran = tidemark("run " + golden +
                             "mamba2-tiny --dtype f32 --new-tokens 1 --budget 0 "
                             "--no-profile --json - --context " +
                             context);
    EXPECT_EQ(ran.code, 0) << ran.err;
    return nlohmann::json::parse(ran.out).at("records").at(0).at("memory");
  };
  const auto small = peak("4096"), large = peak("131072");
  EXPECT_LT(large.at("peak_rss_bytes").get<int64_t>() - small.at("peak_rss_bytes").get<int64_t>(),
            int64_t{8} << 20);
  EXPECT_EQ(large.at("predicted").at("activation").get<int64_t>() -
                small.at("predicted").at("activation").get<int64_t>(),
            4 * (131072 - 4096));
}

}  // namespace
}  // namespace tidemark
