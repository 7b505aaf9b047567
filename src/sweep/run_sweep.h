// Measures what is left of a sweep, each cell in a child process, and keeps every outcome.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "store/store.h"
#include "sweep/child.h"
#include "sweep/schedule.h"

namespace tidemark {

struct SweepProgress {
  int64_t total = 0;   // of this share
  int64_t done = 0;    // have a result, those of earlier calls included
  int64_t not_ok = 0;  // of those of this call
  double elapsed_s = 0;
  std::optional<double> left_s{};  // the mean of this call's cells so far, times the cells left
};

struct SweepOptions {
  // The command that measures a cell. It prints records, a line of JSON each: first what it is
  // about to measure (outcome `failed`, for the case that it dies), last the result.
  std::function<std::vector<std::string>(const Cell&)> command;
  std::function<ChildLimits(const Cell&)> limits;
  Provenance provenance{};  // of this program, for cells that die before they can say theirs
  std::set<Outcome> retry{};
  std::function<void(const Job&, const SweepProgress&)> before{};
  std::function<void(const Job&, const Record&, const SweepProgress&)> after{};
};

// True when every job has a result, whatever the result; false when the user stopped it: at the
// first request after the running cell, at the second at once. What another sweep into the store is
// measuring is left to it, and waited for.
bool run_sweep(Store&, const std::vector<Job>& jobs, const SweepOptions&,
               const StopRequests& stop_requests);

// What became of a cell: the child's own word, or how it ended. nullopt when somebody killed it,
// which says nothing about the cell.
std::optional<Record> record_of(const Job&, const ChildResult&, const ChildLimits&,
                                const Provenance&);

}  // namespace tidemark
