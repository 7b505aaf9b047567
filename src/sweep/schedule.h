// In which order a sweep's cells are measured, and which of them are whose.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "store/store.h"
#include "sweep/sweep_file.h"

namespace tidemark {

struct Job {
  SweepPlace place{};
  Cell cell{};
};

// "2/8": the second of eight shares.
struct Shard {
  int64_t index = 1, count = 1;
};
Shard parse_shard(std::string_view text);

// The share's jobs: in each round of repeats every cell once, in an order drawn from the file's
// seed, so that a drift of the machine does not look like an effect of the context. The order is
// the same on every machine, and the shares of a sweep are disjoint.
std::vector<Job> schedule(const SweepFile&, const Shard&);

}  // namespace tidemark
