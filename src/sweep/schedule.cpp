#include "sweep/schedule.h"

#include <charconv>
#include <random>
#include <utility>

#include "base/error.h"

namespace tidemark {
namespace {

// Fisher-Yates with a fixed generator: std::shuffle differs between standard libraries, and the
// shares of different machines must fit together. The bias of % is of no consequence here.
void shuffle(std::vector<Cell>& cells, uint64_t seed) {
  std::mt19937_64 random(seed);
  for (size_t i = cells.size(); i > 1; --i) std::swap(cells[i - 1], cells[random() % i]);
}

}  // namespace

Shard parse_shard(std::string_view text) {
  Shard shard;
  const char* const end = text.data() + text.size();
  const auto [slash, error] = std::from_chars(text.data(), end, shard.index);
  if (error == std::errc() && slash != end && *slash == '/') {
    const auto [rest, count_error] = std::from_chars(slash + 1, end, shard.count);
    if (count_error == std::errc() && rest == end && shard.index >= 1 && shard.index <= shard.count)
      return shard;
  }
  fail("--shard: expected I/N with I from 1 to N, found '{}'", text);
}

std::vector<Job> schedule(const SweepFile& sweep, const Shard& shard) {
  std::vector<Job> jobs;
  int64_t position = 0;
  for (int64_t repeat = 0; repeat < sweep.repeats; ++repeat) {
    std::vector<Cell> cells = sweep.cells;
    shuffle(cells, sweep.seed + static_cast<uint64_t>(repeat));
    for (Cell& cell : cells)
      if (position++ % shard.count == shard.index - 1) {
        SweepPlace place{cell_key(cell), repeat};
        jobs.push_back({std::move(place), std::move(cell)});
      }
  }
  return jobs;
}

}  // namespace tidemark
