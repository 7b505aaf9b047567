// Two sets of measurements, cell by cell: did it get slower?
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "store/store.h"

namespace tidemark {

enum class Verdict { same, worse, better };
std::string_view name(Verdict);

// One metric of one cell on both sides. ratio is b / a: above 1 is worse, whatever the metric.
struct MetricComparison {
  Cell cell{};
  std::string
      metric{};  // "ttft", "tpot", "memory", "energy" (of a prefill), "decode energy", "outcome"
  double a = 0, b = 0;  // medians; seconds, bytes, joules
  double ratio = 1;
  double low = 1, high = 1;  // 95 % interval of the ratio
  double p = 1;              // Mann-Whitney, adjusted for the number of comparisons (Holm)
  int64_t samples_a = 0, samples_b = 0;
  Verdict verdict = Verdict::same;
  std::string note{};  // of outcomes: "ok -> out_of_memory"
};

struct CompareOptions {
  double threshold = 0.05;  // a change of this share is not worth a word
  double significance = 0.05;
};

struct Comparison {
  std::vector<MetricComparison> metrics;
  int64_t only_a = 0, only_b = 0;           // cells without a partner
  std::vector<std::string> other_machines;  // a sentence for each device that is another on b
  bool any_worse() const;
};

// The records of two stores as compare() wants them. Their cells are found to be the same by what a
// sweep was asked for, where a record cannot say it: one that died before it spoke has its cell as
// asked (no family, threads 0), and older stores call a folder by the last part of its path.
struct Sides {
  std::vector<Record> a, b;
};
Sides sides_of(std::vector<StoredRecord> a, std::vector<StoredRecord> b);

// `a` is the baseline. Repeats of a cell are pooled. A time is worse when the whole interval of the
// ratio lies beyond the threshold, the test is significant, and every repeat of b is slower than
// every repeat of a. Memory is exact. An outcome that was ok and is no more is worse. Throws Error
// when no cell is on both sides, or a side has two machines of one device.
Comparison compare(std::span<const Record> a, std::span<const Record> b, const CompareOptions&);

}  // namespace tidemark
