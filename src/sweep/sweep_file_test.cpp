#include "sweep/sweep_file.h"

#include <gtest/gtest.h>

#include <array>

#include "base/error.h"

namespace tidemark {
namespace {

std::string error_of(std::string_view text) {
  try {
    parse_sweep_file(text, "s.toml");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(SweepFile, MultipliesAxesAndKeepsSettings) {
  const SweepFile sweep = parse_sweep_file(R"(
[sweep]
seed = 7
repeats = 3
timeout_s = 90
process_memory = "2GiB"
[measure]
budget_s = 2.5
synthetic = true
seed = 9
operators = false
energy = false
[grid]
model = ["a", "b"]
context = ["1k..4k*2", 100]
batch = [1, 2]
dtype = "f32"
chunk = ["whole", 512]
logits = ["last", "all"]
memory_limit = ["none", "8GiB"]
new_tokens = 4
threads = 0
device = "cpu"
)",
                                           "s.toml");
  EXPECT_EQ(sweep.seed, 7U);
  EXPECT_EQ(sweep.repeats, 3);
  EXPECT_EQ(sweep.timeout_s, 90);
  EXPECT_EQ(sweep.process_memory_bytes, int64_t{2} << 30);
  EXPECT_EQ(sweep.measure.budget_s, 2.5);
  EXPECT_TRUE(sweep.measure.synthetic);
  EXPECT_EQ(sweep.measure.seed, 9U);
  EXPECT_FALSE(sweep.measure.operators);
  EXPECT_FALSE(sweep.measure.energy);
  // 2 models, 2 batches, 2 logits, 2 limits; contexts 1k, 2k, 4k in two chunks each and 100 in
  // one, because a chunk of 512 is the whole of it.
  EXPECT_EQ(sweep.cells.size(), 2U * 2 * 2 * 2 * (3 * 2 + 1));
  EXPECT_EQ(sweep.cells.front(), (Cell{.model = "a",
                                       .device = "cpu",
                                       .dtype = DType::f32,
                                       .batch = 1,
                                       .context = 1024,
                                       .new_tokens = 4,
                                       .chunk = 1024}));
  EXPECT_EQ(sweep.cells.back(), (Cell{.model = "b",
                                      .device = "cpu",
                                      .dtype = DType::f32,
                                      .batch = 2,
                                      .context = 100,
                                      .new_tokens = 4,
                                      .chunk = 100,
                                      .logits = LogitsPolicy::all,
                                      .memory_limit_bytes = int64_t{8} << 30}));
}

TEST(SweepFile, IncludesInheritAndCountOnce) {
  const SweepFile sweep = parse_sweep_file(R"(
[grid]
model = "a"
context = [512, 1024]
new_tokens = 8
[[include]]
context = [1024, 2048]
[[include]]
model = "b"
)",
                                           "s.toml");
  ASSERT_EQ(sweep.cells.size(), 5U);
  EXPECT_EQ(sweep.cells[2].context, 2048);
  EXPECT_EQ(sweep.cells[2].new_tokens, 8);
  EXPECT_EQ(sweep.cells[4].model, "b");
  EXPECT_EQ(sweep.cells[4].context, 1024);
}

TEST(SweepFile, ExcludesWhatMatchesEveryKey) {
  const SweepFile sweep = parse_sweep_file(R"(
[grid]
model = ["llama-1", "llama-2", "mamba"]
context = "1k..8k*2"
[[exclude]]
model = "llama*"
context = "4k.."
[[exclude]]
model = "mamba"
context = [1024, "2k..4k"]
)",
                                           "s.toml");
  std::vector<std::pair<std::string, int64_t>> left;
  for (const Cell& c : sweep.cells) left.emplace_back(c.model, c.context);
  EXPECT_EQ(left, (std::vector<std::pair<std::string, int64_t>>{{"llama-1", 1024},
                                                                {"llama-1", 2048},
                                                                {"llama-2", 1024},
                                                                {"llama-2", 2048},
                                                                {"mamba", 8192}}));
}

TEST(SweepFile, KnowsTheLinesOfItsCells) {
  const SweepFile sweep = parse_sweep_file(R"([grid]
model = ["a",
         "b"]
context = [512,
           1024]
[[include]]
context = 99
[[exclude]]
model = "a"
context = 512
)",
                                           "s.toml");
  std::vector<std::array<int64_t, 3>> lines;
  for (size_t i = 0; i < sweep.cells.size(); ++i)
    lines.push_back({sweep.cells[i].context, sweep.lines[i].model, sweep.lines[i].context});
  EXPECT_EQ(lines, (std::vector<std::array<int64_t, 3>>{
                       {1024, 2, 5}, {512, 3, 4}, {1024, 3, 5}, {99, 2, 7}, {99, 3, 7}}));
}

TEST(SweepFile, ErrorsNameFileLineAndKey) {
  EXPECT_EQ(error_of("[grid\n").substr(0, 9), "s.toml:1:");
  EXPECT_EQ(error_of("[sweep]\n"), "s.toml: grid: missing; a sweep file needs a [grid] table");
  EXPECT_EQ(error_of("[gird]\n"),
            "s.toml:1: gird: unknown; expected sweep, measure, grid, include or exclude");
  EXPECT_EQ(error_of("[grid]\nmodel = 'a'\n"), "s.toml:1: grid: key 'context' is missing");
  EXPECT_EQ(error_of("[grid]\nmodel = 'a'\ncontexts = 5\n").substr(0, 30),
            "s.toml:3: grid.contexts: unkno");
  EXPECT_EQ(error_of("[grid]\nmodel = 'a'\ncontext = [5,\n 'x']\n").substr(0, 23),
            "s.toml:4: grid.context:");
  EXPECT_EQ(error_of("[grid]\nmodel = 'a'\ncontext = 5\nbatch = 0\n").substr(0, 21),
            "s.toml:4: grid.batch:");
  EXPECT_EQ(error_of("[grid]\nmodel = 'a'\ncontext = 5.5\n"),
            "s.toml:3: grid.context: expected a text or a whole number");
  EXPECT_EQ(error_of("[grid]\nmodel = []\ncontext = 5\n"),
            "s.toml:2: grid.model: expected at least one value");
  EXPECT_EQ(error_of("[grid]\nmodel = 'a'\ncontext = 5\ndtype = 'f64'\n"),
            "s.toml:4: grid.dtype: expected f32, bf16, w8a16 or w8a8, found 'f64'");
  EXPECT_EQ(error_of("[grid]\nmodel = 'a'\ncontext = 5\n[sweep]\nrepeats = 0\n"),
            "s.toml:5: sweep.repeats: expected a whole number from 1 up");
  EXPECT_EQ(error_of("[grid]\nmodel = 'a'\ncontext = 5\n[measure]\nbudget_s = 'x'\n"),
            "s.toml:5: measure.budget_s: expected a positive number of seconds");
  EXPECT_EQ(error_of("[grid]\nmodel = 'a'\ncontext = 5\n[[exclude]]\nmodel = 'b'\n"),
            "s.toml:4: exclude: matches no cell");
  EXPECT_EQ(error_of("[grid]\nmodel = 'a'\ncontext = 5\n[[exclude]]\nmodel = '*'\n"),
            "s.toml: every cell is excluded");
  for (const char* device : {"tpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "CPU"})
    EXPECT_EQ(error_of(fmt::format("[grid]\nmodel = 'a'\ncontext = 5\ndevice = '{}'\n", device)),
              fmt::format("s.toml:4: grid.device: expected cpu or cuda:N, found '{}'", device));
  EXPECT_EQ(error_of("[grid]\nmodel = 'a'\ncontext = 5\ndevice = ['cpu', 'cuda', 'cuda:12']\n"),
            "");
  EXPECT_EQ(error_of("[grid]\nmodel = 'a'\ncontext = 5\nthreads = [4096, 4097]\n"),
            "s.toml:4: grid.threads: expected 0 (all cores) to 4096, found 4097");
  EXPECT_EQ(error_of("[grid]\nmodel = 'a'\ncontext = 5\n[sweep]\nprocess_memory = 0\n"),
            "s.toml:5: sweep.process_memory: expected at least 1 byte");
  EXPECT_EQ(error_of("[grid]\nmodel = 'a'\ncontext = 5\nmemory_limit = 'lots'\n").substr(0, 28),
            "s.toml:4: grid.memory_limit:");
}

}  // namespace
}  // namespace tidemark
