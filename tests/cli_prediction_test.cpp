// What is predicted, through the program.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>

#include "base/error.h"
#include "run_program.h"

namespace tidemark {
namespace {

nlohmann::json json_of(const std::string& arguments) {
  const Ran ran = tidemark(arguments);
  EXPECT_EQ(ran.code, 0) << arguments << ": " << ran.err;
  return nlohmann::json::parse(ran.out);
}

nlohmann::json predicted(const std::string& model, int64_t context) {
  return json_of(fmt::format("predict {} --on rtx4090 --context {} --new-tokens 2 --json -", model,
                             context))
      .at("records")[0];
}

int64_t memory_of(const nlohmann::json& record) {
  int64_t sum = 0;
  for (const auto& tag : record.at("memory").at("predicted")) sum += tag.get<int64_t>();
  return sum;
}

constexpr const char* pair = "qwen2.5-0.5b mamba2-780m --on rtx4090 --max-context ";

// On either side of the crossing the predictions say so themselves.
TEST(CliPrediction, CrossoversAreFoundToTheTokenUpToTheLast) {
  for (const std::string metric : {"ttft", "tpot"}) {
    const auto found =
        json_of(fmt::format("crossover {} 64k --metric {} --new-tokens 2 --json", pair, metric))
            .at("crossings");
    ASSERT_EQ(found.size(), 1U) << metric;
    EXPECT_EQ(found[0].at("ahead_after"), "mamba2-780m");
    const int64_t at = found[0].at("between")[1];
    EXPECT_EQ(found[0].at("between")[0], at - 1);
    const auto seconds = [&](const char* model, int64_t context) -> double {
      return predicted(model, context).at("metrics").at(metric + "_s").at("median");
    };
    EXPECT_GE(seconds("mamba2-780m", at - 1), seconds("qwen2.5-0.5b", at - 1)) << metric;
    EXPECT_LT(seconds("mamba2-780m", at), seconds("qwen2.5-0.5b", at)) << metric;
    // The last context is looked at, and the one before it does not stand for it.
    EXPECT_EQ(json_of(fmt::format("crossover {} {} --metric {} --json", pair, at, metric))
                  .at("crossings")
                  .size(),
              1U)
        << metric;
    const Ran never = tidemark(fmt::format("crossover {} {} --metric {}", pair, at - 1, metric));
    EXPECT_NE(never.out.find(
                  fmt::format("never cross: qwen2.5-0.5b is ahead from 1 to {} tokens\n", at - 1)),
              std::string::npos)
        << never.out;
  }
}

TEST(CliPrediction, CrossoverOfMemoryIsThatOfTheDevice) {
  const auto answer = json_of(fmt::format("crossover {} 4m --metric memory --json", pair));
  EXPECT_NE(answer.at("basis").get<std::string>().find("scratch memory of the cuda backend"),
            std::string::npos)
      << answer;
  const int64_t at = answer.at("crossings").at(0).at("between")[1];
  const auto bytes = [](const char* model, int64_t context) {
    return memory_of(json_of(fmt::format("predict {} --on rtx4090 --context {} --new-tokens 1 "
                                         "--json -",
                                         model, context))
                         .at("records")[0]);
  };
  EXPECT_GE(bytes("mamba2-780m", at - 1), bytes("qwen2.5-0.5b", at - 1));
  EXPECT_LT(bytes("mamba2-780m", at), bytes("qwen2.5-0.5b", at));
  const auto limit = json_of("limit qwen2.5-0.5b --on rtx4090 --json").at("limits")[0];
  EXPECT_NE(answer.at("basis").get<std::string>().find(
                fmt::format("1 to {} tokens", limit.at("context").get<int64_t>())),
            std::string::npos)
      << answer << limit;
  const Ran here = tidemark("crossover qwen2.5-0.5b mamba2-780m --metric memory");
  EXPECT_NE(here.out.find("scratch memory of this machine's cpu"), std::string::npos) << here.out;
}

// limit and crossover ask what predict says with the same engine model.
TEST(CliPrediction, AFrameworksLimitAndCrossoverAreItsPredictions) {
  const auto record = [](const std::string& model, int64_t context) {
    return json_of(fmt::format("predict {} --on rtx4090 --engine-model eager-full --context {} "
                               "--new-tokens 2 --json -",
                               model, context))
        .at("records")[0];
  };
  int64_t limit = 0;
  const auto limits = json_of("limit qwen2.5-0.5b --on rtx4090 --json").at("limits");
  for (const auto& row : limits)
    if (row.at("engine_model") == "eager-full") limit = row.at("context");
  EXPECT_EQ(record("qwen2.5-0.5b", limit).at("outcome"), "ok");
  EXPECT_EQ(record("qwen2.5-0.5b", limit + 1).at("outcome"), "out_of_memory");

  const std::string eager = fmt::format("crossover {} 1m --engine-model eager-full", pair);
  const auto answer = json_of(eager + " --metric memory --json");
  EXPECT_NE(
      answer.at("basis").get<std::string>().find(fmt::format(
          "engine model eager-full), bf16, batch 1, chunk whole, all logits, 1 to {}", limit)),
      std::string::npos)
      << answer;
  const int64_t at = answer.at("crossings").at(0).at("between")[1];
  EXPECT_GE(memory_of(record("mamba2-780m", at - 1)), memory_of(record("qwen2.5-0.5b", at - 1)));
  EXPECT_LT(memory_of(record("mamba2-780m", at)), memory_of(record("qwen2.5-0.5b", at)));
  const auto tpot = json_of(eager + " --metric tpot --new-tokens 2 --json").at("crossings");
  const int64_t faster = tpot.at(0).at("between")[1];
  const auto seconds = [&](const char* model, int64_t context) -> double {
    return record(model, context).at("metrics").at("tpot_s").at("median");
  };
  EXPECT_GE(seconds("mamba2-780m", faster - 1), seconds("qwen2.5-0.5b", faster - 1));
  EXPECT_LT(seconds("mamba2-780m", faster), seconds("qwen2.5-0.5b", faster));

  EXPECT_EQ(tidemark("limit jamba-v0.1 --on h200").out.find("eager-full"), std::string::npos);
  expect_error("crossover qwen2.5-0.5b jamba-v0.1 --on h200 --engine-model eager-full",
               {"eager-full has no kernels for", "jamba-v0.1"});
  expect_error("crossover qwen2.5-0.5b mamba2-780m --engine-model eager-full", {"--on"});
}

TEST(CliPrediction, ACrossoverNeedsModelsThatFit) {
  for (const char* metric : {"ttft", "memory"})
    expect_error(fmt::format("crossover jamba-v0.1 qwen2.5-0.5b --on rtx4090 --metric {}", metric),
                 {"jamba-v0.1 does not fit rtx4090", "24.00 GiB"});
  expect_error(fmt::format("crossover {} 1k --device cpu", pair), {"--on or --device"});
}

TEST(CliPrediction, WhatAFrameworkLoopsOverIsRefusedAndTheOtherCellsGoOn) {
  expect_error("predict jamba-v0.1 --on rtx4090 --engine-model eager-full",
               {"eager-full has no kernels for", "expert_gemm", "jamba-v0.1"});
  expect_error("whatif jamba-v0.1 --on rtx4090 --scale memory=2x --engine-model eager-full",
               {"eager-full has no kernels for"});
  const std::string csv = testing::TempDir() + fmt::format("tidemark_loops_{}.csv", getpid());
  std::ofstream(csv) << "device,model,context_tokens,new_tokens,ttft_s,tpot_s\n"
                        "rtx4090,granite-4.0-h-tiny,1024,8,0.1,0.01\n"
                        "rtx4090,qwen2.5-0.5b,1024,8,0.0143,0.013\n";
  const Ran ran = tidemark("prediction-error --published " + csv);
  std::filesystem::remove(csv);
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(ran.out.find("- granite-4.0-h-tiny on rtx4090 at 1024: --engine-model: unsupported"),
            std::string::npos)
      << ran.out;
  EXPECT_NE(ran.out.find("| qwen2.5-0.5b | 1024 | 14.30 ms |"), std::string::npos) << ran.out;
}

// Twice the bandwidth makes nothing slower and at most twice as fast, and decode is bound by it.
TEST(CliPrediction, WhatIfDrawsWhatReportDraws) {
  const Ran ran = tidemark("whatif mamba2-130m --on h200 --scale bandwidth=2x --figure -");
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(ran.out.find("vega-lite/v6.json"), std::string::npos) << ran.out.substr(0, 200);
}

TEST(CliPrediction, WhatIfNamesItsRatios) {
  const auto at = json_of(
      "whatif mamba2-130m --on rtx4090 --scale bandwidth=2x --context 1k --json")["contexts"][0];
  const auto& gain = at.at("gains").at(0);
  ASSERT_EQ(gain.size(), 4U) << gain;
  EXPECT_EQ(gain.at("what"), "bandwidth 2x");
  for (const char* ratio : {"ttft_speedup", "tpot_speedup", "prefill_energy_reduction"}) {
    EXPECT_GE(gain.at(ratio).get<double>(), 1) << ratio;
    EXPECT_LE(gain.at(ratio).get<double>(), 2) << ratio;
  }
  EXPECT_GT(gain.at("tpot_speedup").get<double>(), 1.2);
}

// Of 8 bits on a GPU, in whatever is asked.
TEST(CliPrediction, SaysWhatItIsOfAndWhatIsMissing) {
  const std::string missing = "no GPU kernels in w8a8 yet";
  for (const std::string arguments :
       {"predict qwen2.5-0.5b", "limit qwen2.5-0.5b", "crossover qwen2.5-0.5b mamba2-130m",
        "crossover qwen2.5-0.5b mamba2-130m --metric memory",
        "whatif qwen2.5-0.5b --scale bandwidth=2x"}) {
    const Ran gpu = tidemark(arguments + " --on rtx4090 --dtype w8a8");
    EXPECT_EQ(gpu.code, 0) << gpu.err;
    EXPECT_NE(gpu.out.find(missing), std::string::npos) << arguments << "\n" << gpu.out;
    for (const char* fine : {" --on rtx4090", " --on epyc-9654 --dtype w8a8"})
      EXPECT_EQ(tidemark(arguments + fine).out.find("no GPU kernels"), std::string::npos)
          << arguments << fine;
  }
  const Ran crossing =
      tidemark("crossover recurrentgemma-2b mamba2-130m --max-context 4k --on epyc-9654");
  EXPECT_NE(crossing.out.find("; recurrentgemma-2b priced as other kernels: RG-LRU as"),
            std::string::npos)
      << crossing.out;
  const Ran ran = tidemark("predict qwen2.5-0.5b --on rtx4090 h200-calibrated --batch 2");
  EXPECT_NE(ran.out.find("\nbf16, batch 2, 32 new tokens, chunk 512, last logits\n"
                         "rtx4090: datasheet profile\n"
                         "h200-calibrated: calibrated profile, priced as other kernels: decode of "
                         "several sequences as the launches of one\n"),
            std::string::npos)
      << ran.out;
  const Ran eager = tidemark("predict qwen2.5-0.5b --on rtx4090 --engine-model eager-full");
  EXPECT_NE(eager.out.find("chunk whole, all logits\n"
                           "rtx4090: datasheet profile, engine model eager-full\n"),
            std::string::npos)
      << eager.out;
}

// Against the predictions it is of, not against the device's.
TEST(CliPrediction, SaysWhichPredictionsAreBeyondTheModelsPositions) {
  const Ran ran = tidemark("predict tinyllama-1.1b mamba2-130m --on rtx4090 h200 --context 1k,4k");
  EXPECT_NE(ran.out.find("\nrtx4090: datasheet profile\nh200: datasheet profile\n"
                         "tinyllama-1.1b at 4096: beyond the model's 2048 positions\n\n"),
            std::string::npos)
      << ran.out;
  const Ran all = tidemark("predict tinyllama-1.1b --on rtx4090 --context 4k");
  EXPECT_NE(all.out.find("\nrtx4090: datasheet profile, beyond the model's 2048 positions\n"),
            std::string::npos)
      << all.out;
}

TEST(CliPrediction, OperatorsWithMoreOperationsThanARecordHoldsSaySo) {
  const Ran ran = tidemark("predict jamba-reasoning-3b --on h200 --context 64m --ops");
  ASSERT_EQ(ran.code, 0) << ran.err;
  const size_t at = ran.out.find("  attention ");
  ASSERT_NE(at, std::string::npos) << ran.out;
  EXPECT_NE(ran.out.substr(at, ran.out.find('\n', at) - at).find("  > "), std::string::npos)
      << ran.out.substr(at, 200);
}

// More sequences and tokens than 64 bits have room for are no plan, and none that fits.
TEST(CliPrediction, NoPlanIsSoLargeThatItsNumbersWrap) {
  for (const char* arguments :
       {"predict qwen2.5-0.5b --on h200 --context 1m --batch 1000000000",
        "predict mamba-130m --on h200 --context 1m --batch 1000000000000 --new-tokens 1",
        "limit qwen2.5-0.5b --memory 4194303TiB --batch 1099511627776",
        "explain qwen2.5-0.5b --context 1m --batch 100000000 --chunk whole"})
    expect_error(arguments, {"batch", "1048576"});
  for (const char* arguments :
       {"predict hymba-1.5b --on h200 --context 1m --batch 1048576",
        "limit hymba-1.5b --on h200 --batch 1048576 --new-tokens 1048577",
        "crossover qwen2.5-0.5b mamba2-780m --metric memory --batch 1048576 --new-tokens 2000000"})
    expect_error(arguments, {"1099511627776 tokens in all sequences", "1048576 sequences"});
  const Ran explained =
      tidemark("explain qwen2.5-0.5b --context 1000k --batch 1048576 --chunk whole");
  EXPECT_EQ(explained.code, 0) << explained.err;
  EXPECT_FALSE(std::regex_search(explained.out, std::regex(" -[0-9]"))) << explained.out;
}

// oneDNN, asked for its scratch memory, divides by 0 at 2^32 rows.
TEST(CliPrediction, ProductsOfMoreRowsThan32BitsCountArePlanned) {
  for (const char* dtype : {"f32", "bf16", "w8a8"}) {
    const Ran ran = tidemark(
        fmt::format("explain qwen2.5-0.5b --context 4096m --chunk whole --dtype {}", dtype));
    EXPECT_EQ(ran.code, 0) << dtype << ran.err;
  }
}

TEST(CliPrediction, ALimitAsksNoMoreThanAPlanCanHave) {
  for (const auto& [batch, context] :
       {std::pair(1, int64_t{1} << 40), std::pair(1048576, int64_t{1} << 20)}) {
    const Ran ran = tidemark(
        fmt::format("limit mamba-130m --memory 4194303TiB --new-tokens 1 --batch {}", batch));
    EXPECT_EQ(ran.code, 0) << ran.err;
    size_t rows = 0;
    const std::string all = fmt::format(" {}, all it can take ", context);
    for (size_t at = 0; (at = ran.out.find(all, at)) != std::string::npos; ++at) ++rows;
    EXPECT_EQ(rows, 3U) << ran.out;
  }
}

// The position behind the meta tokens is the one whose keys attention counts.
TEST(CliPrediction, ExplainCountsMetaTokens) {
  const Ran ran = tidemark("explain hymba-1.5b --context 512");
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(ran.out.find("one token per sequence at position 640\n"), std::string::npos);
  const size_t decode = ran.out.find("\ndecode:");
  EXPECT_NE(ran.out.find("641 keys", decode), std::string::npos) << ran.out.substr(decode, 3000);
}

// Scratch memory of a GPU is not a processor's.
TEST(CliPrediction, MemoryIsToldOncePerKindOfDevice) {
  const Ran ran = tidemark("predict qwen2.5-0.5b --on rtx4090 epyc-9654 h200");
  ASSERT_EQ(ran.code, 0) << ran.err;
  const std::string table = ran.out.substr(ran.out.find("\nmemory\n"));
  const auto row_after = [&](const std::string& label) {
    const size_t at = table.find("  qwen2.5-0.5b on a " + label);
    EXPECT_NE(at, std::string::npos) << table;
    const size_t row = table.find('\n', at) + 1;
    return table.substr(row, table.find('\n', row) - row);
  };
  EXPECT_NE(row_after("GPU"), row_after("CPU"));
  EXPECT_EQ(table.find("on a GPU", table.find("on a CPU")), std::string::npos) << table;
}

}  // namespace
}  // namespace tidemark
