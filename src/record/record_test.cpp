#include "record/record.h"

#include <gtest/gtest.h>

#include <set>

#include "record/json.h"

namespace tidemark {
namespace {

// Every field differs from its default and from its neighbours.
Record full_record() {
  Record r;
  r.source = Source::predicted;
  r.cell = {.model = "Qwen2.5-0.5B",
            .family = "qwen2",
            .device = "cpu",
            .dtype = DType::bf16,
            .batch = 2,
            .context = 8192,
            .new_tokens = 32,
            .chunk = 512,
            .logits = LogitsPolicy::all,
            .threads = 4,
            .memory_limit_bytes = int64_t{24} << 30};
  r.weights = "synthetic, seed 0";
  r.prompt = "random, seed 7";
  r.outcome = Outcome::out_of_memory;
  r.reason = "kv_cache: 5 bytes more than the budget";
  r.metrics.ttft_s = Summary{.median = 0.1,
                             .p5 = 0.01,
                             .p95 = 0.3,
                             .ci_low = 0.05,
                             .ci_high = 0.25,
                             .ci_coverage = 0.9375,
                             .n = 3,
                             .samples = {0.1, 1.0 / 3, 1e-9}};
  r.metrics.tpot_s = Summary{.median = 0.2, .n = 1};
  r.metrics.end_to_end_s = Summary{.median = 0.3, .n = 1};
  r.metrics.prefill_tokens_per_s = Summary{.median = 81920, .n = 1};
  r.metrics.decode_tokens_per_s = Summary{.median = 10, .n = 1};
  r.metrics.decode_step_s = {{0.1, 0.2}, {0.3}};
  r.metrics.stopping = Stopping{.reason = StopReason::time_budget,
                                .threshold = 0.02,
                                .relative_half_width = 0.04,
                                .warmup_runs = 1,
                                .runs = 9,
                                .elapsed_s = 12.5};
  for (Tag tag : all_tags) r.memory.predicted[tag] = 64 * (static_cast<int64_t>(tag) + 1);
  r.memory.high_water = r.memory.predicted;
  (*r.memory.high_water)[Tag::logits] = (int64_t{1} << 53) + 1;  // more than a double holds
  r.memory.driver_bytes = 11;
  r.memory.peak_rss_bytes = 12;
  r.memory.budget_bytes = 13;
  r.prefill = OperatorProfile{.passes = 5,
                              .wall_s = 1.5,
                              .gap_s = 0.25,
                              .overhead = 1.03,
                              .device = DeviceTime{.busy_s = 1, .host_dispatch_s = 2, .idle_s = 3},
                              .rows = {{.index = 3,
                                        .op = "ssd",
                                        .category = Category::ssm_scan,
                                        .role = Role::ssm_scan,
                                        .layer = 2,
                                        .calls = 16,
                                        .time_s = 1.25,
                                        .ops = 100,
                                        .bytes_read = 200,
                                        .bytes_written = 300,
                                        .implementation = "highway avx3"}}};
  r.decode = OperatorProfile{.passes = 6};
  r.prefill_energy = Energy{.total_j = 5, .baseline_j = 2, .window_s = 3, .sensor = "intel-rapl:0"};
  r.decode_energy = Energy{.total_j = 6};
  r.flags = {"throttled", "clock 1.2 GHz"};
  r.provenance = {.device_name = "AMD EPYC \"9\"",
                  .cpu = "AMD EPYC",
                  .isa = "AVX-512",
                  .threads = 4,
                  .memory_bytes = 99,
                  .os = "Debian 12",
                  .libraries = {"oneDNN 2.6.3", "Highway 1.0.3"},
                  .compiler = "g++ 12.2.0",
                  .version = "0.1.0",
                  .commit = "abc",
                  .dirty = true,
                  .date = "2025-01-02T03:04:05Z"};
  return r;
}

TEST(RecordJson, RoundTripKeepsEveryFieldThroughText) {
  const Record record = full_record();
  const std::string text = to_json(record).dump();
  EXPECT_EQ(record_from_json(nlohmann::ordered_json::parse(text)), record);
}

TEST(RecordJson, AbsentIsLeftOutNotZero) {
  const auto json = to_json(Record{});
  EXPECT_FALSE(json["metrics"].contains("tpot_s"));
  EXPECT_FALSE(json["memory"].contains("high_water"));
  EXPECT_FALSE(json.contains("decode"));
  EXPECT_EQ(record_from_json(json), Record{});
}

// The key names are published: a reader outside the program relies on them.
TEST(RecordJson, WritesThePublishedNames) {
  const auto json = to_json(full_record());
  EXPECT_EQ(json["source"], "predicted");
  EXPECT_EQ(json["cell"]["dtype"], "bf16");
  EXPECT_EQ(json["cell"]["logits"], "all");
  EXPECT_EQ(json["outcome"], "out_of_memory");
  EXPECT_EQ(json["metrics"]["ttft_s"]["samples"].size(), 3U);
  EXPECT_EQ(json["metrics"]["stopping"]["reason"], "time_budget");
  EXPECT_EQ(json["memory"]["predicted"]["kv_cache"], 192);
  EXPECT_EQ(json["memory"]["high_water"]["logits"], 9007199254740993);
  EXPECT_EQ(json["prefill"]["rows"][0]["category"], "ssm_scan");
}

std::string error_of(const nlohmann::ordered_json& json) {
  try {
    records_from_json(json);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(RecordJson, ErrorsNameTheKey) {
  const Record record = full_record();
  auto json = records_to_json(std::span(&record, 1));
  EXPECT_EQ(records_from_json(json), std::vector{record});

  auto missing = json;
  missing["records"][0]["cell"].erase("batch");
  EXPECT_EQ(error_of(missing), "records: cell: key 'batch' is missing");
  auto wrong_type = json;
  wrong_type["records"][0]["metrics"]["ttft_s"]["n"] = "three";
  EXPECT_EQ(error_of(wrong_type),
            "records: metrics: ttft_s: n: expected a whole number, found string");
  auto wrong_name = json;
  wrong_name["records"][0]["outcome"] = "fine";
  EXPECT_EQ(error_of(wrong_name), "records: outcome: unknown name 'fine'");
  auto wrong_version = json;
  wrong_version["schema"] = 999;
  EXPECT_EQ(error_of(wrong_version), "schema: expected version 1, found 999");
}

TEST(RecordJson, RefusesNumbersJsonCannotHold) {
  Record record;
  record.prefill = OperatorProfile{.wall_s = std::numeric_limits<double>::quiet_NaN()};
  EXPECT_THROW(to_json(record), Error);
}

TEST(CellKey, IsStable) {
  const Cell cell = full_record().cell;
  EXPECT_EQ(cell_key(cell),
            "model=Qwen2.5-0.5B|family=qwen2|device=cpu|dtype=bf16|batch=2|context=8192|"
            "new_tokens=32|chunk=512|logits=all|threads=4|memory_limit=25769803776");
}

TEST(CellKey, DiffersInEveryField) {
  const Cell base = full_record().cell;
  std::vector<Cell> cells(12, base);
  cells[1].model = "x";
  cells[2].family = "x";
  cells[3].device = "x";
  cells[4].dtype = DType::f16;
  cells[5].batch = 3;
  cells[6].context = 3;
  cells[7].new_tokens = 3;
  cells[8].chunk = 3;
  cells[9].logits = LogitsPolicy::last;
  cells[10].threads = 3;
  cells[11].memory_limit_bytes = 3;
  std::set<std::string> keys;
  for (const Cell& cell : cells) keys.insert(cell_key(cell));
  EXPECT_EQ(keys.size(), cells.size());

  Cell separator = base, plain = base;
  separator.model = "a|family=b";
  plain.model = "a";
  plain.family = "b|family=qwen2";
  EXPECT_NE(cell_key(separator), cell_key(plain));
}

}  // namespace
}  // namespace tidemark
