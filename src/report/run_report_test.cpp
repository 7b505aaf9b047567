#include "report/run_report.h"

#include <gtest/gtest.h>

namespace tidemark {
namespace {

Summary summary(double median, int64_t n = 6, double coverage = 0.96875) {
  return {.median = median,
          .p5 = median * 0.9,
          .p95 = median * 1.2,
          .ci_low = median * 0.98,
          .ci_high = median * 1.02,
          .ci_coverage = coverage,
          .n = n};
}

// Numbers that can be checked in the head: a prefill of 2 s for 1000 tokens, of which 1 s matrix
// products, 0.5 s attention, 0.4 s norms, and 0.1 s nobody accounts for.
Record sample_record() {
  Record r;
  r.cell = {.model = "Ebb-1B",
            .family = "ebb",
            .device = "cpu",
            .dtype = DType::bf16,
            .batch = 1,
            .context = 1000,
            .new_tokens = 5,
            .chunk = 512,
            .threads = 2};
  r.weights = "synthetic, seed 0";
  r.metrics.ttft_s = summary(2);
  r.metrics.tpot_s = summary(0.05);
  r.metrics.end_to_end_s = summary(2.2);
  r.metrics.prefill_tokens_per_s = summary(500);
  r.metrics.decode_tokens_per_s = summary(20);
  r.metrics.stopping = Stopping{.reason = StopReason::narrow_interval,
                                .threshold = 0.02,
                                .relative_half_width = 0.02,
                                .warmup_runs = 1,
                                .runs = 6,
                                .elapsed_s = 13.2};
  r.memory.predicted[Tag::weights] = int64_t{96} << 20;
  r.memory.predicted[Tag::kv_cache] = int64_t{4} << 20;
  r.memory.high_water = r.memory.predicted;
  r.memory.peak_rss_bytes = int64_t{128} << 20;
  r.prefill = OperatorProfile{.passes = 5,
                              .wall_s = 2,
                              .gap_s = 0.1,
                              .overhead = 1.004,
                              .rows = {{.op = "norm",
                                        .category = Category::norm,
                                        .role = Role::attn_norm,
                                        .layer = 0,
                                        .calls = 2,
                                        .time_s = 0.4,
                                        .ops = 1000000000,
                                        .bytes_read = 1000000000,
                                        .bytes_written = 1000000000},
                                       {.op = "gemm",
                                        .category = Category::gemm,
                                        .role = Role::qkv_proj,
                                        .layer = 0,
                                        .calls = 2,
                                        .time_s = 0.75,
                                        .ops = 1500000000000,
                                        .bytes_read = 2000000000,
                                        .bytes_written = 1000000000,
                                        .implementation = "oneDNN amx"},
                                       {.op = "attention",
                                        .category = Category::attention,
                                        .role = Role::attention,
                                        .layer = 0,
                                        .calls = 2,
                                        .time_s = 0.5,
                                        .ops = 50000000000,
                                        .bytes_read = 500000000,
                                        .bytes_written = 0},
                                       {.op = "gemm",
                                        .category = Category::gemm,
                                        .role = Role::o_proj,
                                        .layer = 0,
                                        .calls = 2,
                                        .time_s = 0.25,
                                        .ops = 500000000000,
                                        .bytes_read = 1000000000,
                                        .bytes_written = 0}}};
  return r;
}

TEST(RunReport, RecordInFull) {
  EXPECT_EQ(record_text(sample_record(), false, {}), R"(
━━ Ebb-1B  bf16, batch 1, context 1000 + 5 new tokens, chunk 512, logits last
  weights: synthetic, seed 0

                     median       p5 – p95  interval of median       ±  coverage  runs
  ────────────────────────────────────────────────────────────────────────────────────
  TTFT              2.000 s  1.800 – 2.400       1.960 – 2.040  ±2.0 %    96.9 %     6
  TPOT             50.00 ms  45.00 – 60.00       49.00 – 51.00  ±2.0 %    96.9 %     6
  end to end        2.200 s  1.980 – 2.640       2.156 – 2.244  ±2.0 %    96.9 %     6
  prefill       500.0 tok/s  450.0 – 600.0       490.0 – 510.0  ±2.0 %    96.9 %     6
  decode        20.00 tok/s  18.00 – 24.00       19.60 – 20.40  ±2.0 %    96.9 %     6
  6 runs in 13.20 s after 1 warm-up; stopped when the intervals were within ±2.0 % (widest ±2.0 %)

  memory             planned      measured    share
  ──────────────────────────────────────────────────────────────────────────
  weights          96.00 MiB     96.00 MiB   96.0 %  ███████████████████████
  activation             0 B           0 B    0.0 %
  KV cache          4.00 MiB      4.00 MiB    4.0 %  █
  SSM state              0 B           0 B    0.0 %
  conv state             0 B           0 B    0.0 %
  logits                 0 B           0 B    0.0 %
  workspace              0 B           0 B    0.0 %
  ──────────────────────────────────────────────────────────────────────────
  total           100.00 MiB    100.00 MiB  100.0 %  equal to the byte
  peak RSS                 –    128.00 MiB           of the whole process

  prefill  one pass, middle half of 5 passes; 1.004 x the time without profiling
  category       time, s    share                       GFLOP   GFLOP/s        GB      GB/s
  ─────────────────────────────────────────────────────────────────────────────────────────
  gemm            1.0000   50.0 %  ████████              2000      2000     4.000     4.000
  attention       0.5000   25.0 %  ████                 50.00     100.0    0.5000     1.000
  norm            0.4000   20.0 %  ███▎                 1.000     2.500     2.000     5.000
  gap             0.1000    5.0 %  ▊                        –         –         –         –
  ─────────────────────────────────────────────────────────────────────────────────────────
  wall            2.0000  100.0 %                        2051      1026     6.500     3.250
)");
}

TEST(RunReport, OperatorsOneByOne) {
  const std::string text = record_text(sample_record(), true, {});
  EXPECT_NE(
      text.find(
          "\n      0  qkv_proj   gemm           2  0.75000   37.50 %   1500     2000   3.000  4.000"
          "  oneDNN amx\n"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("gap                          0.10000    5.00 %\n"), std::string::npos)
      << text;
}

TEST(RunReport, MismatchIsLoud) {
  Record r = sample_record();
  (*r.memory.high_water)[Tag::kv_cache] += 64;
  const std::string text = record_text(r, false, {});
  EXPECT_NE(text.find("MISMATCH: +64 bytes"), std::string::npos) << text;
  EXPECT_EQ(text.find("equal to the byte"), std::string::npos);
  EXPECT_NE(text.find("differs from the plan"), std::string::npos);
  // Two errors that cancel in the total are still errors.
  (*r.memory.high_water)[Tag::weights] -= 64;
  EXPECT_EQ(record_text(r, false, {}).find("equal to the byte"), std::string::npos);
}

TEST(RunReport, FewRunsClaimNoInterval) {
  Record r = sample_record();
  r.metrics.ttft_s = summary(2, 1, 0);
  r.metrics.stopping = Stopping{.reason = StopReason::time_budget, .threshold = 0.02, .runs = 1};
  const std::string text = record_text(r, false, {});
  EXPECT_NE(text.find("stopped by the time budget, too few for a 95 % interval"), std::string::npos)
      << text;
  EXPECT_NE(comparison_text(std::span(&r, 1), {}).find("2.000 s n = 1"), std::string::npos);
}

TEST(RunReport, OneNewTokenHasNoTpot) {
  Record r = sample_record();
  r.metrics.tpot_s.reset();
  EXPECT_NE(record_text(r, false, {}).find("TPOT        not available\n"), std::string::npos);
}

TEST(RunReport, OutcomeAndFlagsAreShown) {
  Record r = sample_record();
  r.metrics = {};
  r.prefill.reset();
  r.outcome = Outcome::out_of_memory;
  r.reason = "kv_cache: 5 bytes too many";
  r.flags = {"throttled"};
  r.cell.model = "x\x1b[2J";
  const std::string text = record_text(r, true, {});
  EXPECT_EQ(text.find('\x1b'), std::string::npos) << "names may hold what a terminal would obey";
  EXPECT_NE(text.find("  out of memory: kv_cache: 5 bytes too many\n  ! throttled\n"),
            std::string::npos)
      << text;
}

TEST(RunReport, SideBySide) {
  std::vector<Record> records(4, sample_record());
  records[1].cell.model = "Flow-2B";
  records[1].memory.predicted[Tag::kv_cache] = 0;
  records[1].memory.predicted[Tag::ssm_state] = int64_t{1} << 20;
  records[1].prefill->rows[2].category = Category::ssm_scan;
  records[2].cell.context = 500;
  records[3].cell.model = "Flow-2B";
  records[3].cell.context = 4000;
  records[3].outcome = Outcome::out_of_memory;
  records[3].metrics = {};
  records[3].prefill.reset();
  EXPECT_EQ(comparison_text(records, {}), R"(
  side by side  ± of the median's interval; memory as planned
    context            TTFT             TPOT  prefill tok/s  decode tok/s      memory  cache+state
  ────────────────────────────────────────────────────────────────────────────────────────────────
  Ebb-1B
        500  2.000 s ±2.0 %  50.00 ms ±2.0 %          500.0         20.00  100.00 MiB     4.00 MiB
       1000  2.000 s ±2.0 %  50.00 ms ±2.0 %          500.0         20.00  100.00 MiB     4.00 MiB
  Flow-2B
       1000  2.000 s ±2.0 %  50.00 ms ±2.0 %          500.0         20.00   97.00 MiB     1.00 MiB
       4000   out of memory                –              –             –  100.00 MiB     4.00 MiB

  share of prefill time
    context    gemm  attention     ssm    norm  elementwise  memory  other    gap
  ───────────────────────────────────────────────────────────────────────────────
  Ebb-1B
        500  50.0 %     25.0 %       –  20.0 %            –       –      –  5.0 %
       1000  50.0 %     25.0 %       –  20.0 %            –       –      –  5.0 %
  Flow-2B
       1000  50.0 %          –  25.0 %  20.0 %            –       –      –  5.0 %
)");
}

TEST(RunReport, WhatDiffersIsInTheLabel) {
  std::vector<Record> records(2, sample_record());
  records[1].cell.dtype = DType::f32;
  records[1].cell.threads = 1;
  const std::string text = comparison_text(records, {});
  EXPECT_NE(text.find("\n  Ebb-1B, bf16, 2 threads\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\n  Ebb-1B, f32, 1 threads\n"), std::string::npos) << text;
}

TEST(RunReport, MachineNamesCommitAndLibraries) {
  const Provenance p{.device_name = "Tide 9000",
                     .cpu = "Tide 9000",
                     .isa = "AVX-512",
                     .threads = 2,
                     .memory_bytes = int64_t{16} << 30,
                     .os = "Debian 12",
                     .libraries = {"oneDNN 2.6.3", "Highway 1.0.3"},
                     .compiler = "g++ 12.2.0",
                     .version = "0.1.0",
                     .commit = "0123456789abcdef",
                     .dirty = true,
                     .date = "2025-01-02T03:04:05Z"};
  EXPECT_EQ(machine_text(p, {}),
            "  tidemark  0.1.0, commit 0123456789ab with changes\n"
            "  CPU       Tide 9000, 16.00 GiB of memory\n"
            "  runs on   AVX-512, 2 threads\n"
            "  libraries oneDNN 2.6.3, Highway 1.0.3\n"
            "  compiler  g++ 12.2.0\n"
            "  system    Debian 12\n"
            "  date      2025-01-02T03:04:05Z\n");
}

}  // namespace
}  // namespace tidemark
