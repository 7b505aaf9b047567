// What a report is made from: the records of a study, and beside them the small results that
// records do not hold. Everything but the records may be absent.
#pragma once

#include <string>
#include <vector>

#include "record/record.h"

namespace tidemark {

// The largest context that fits a memory budget under one policy, as planned.
struct ContextLimit {
  std::string model{};
  std::string device{};
  DType dtype = DType::bf16;
  int64_t budget_bytes = 0;
  LogitsPolicy logits = LogitsPolicy::last;
  int64_t chunk = 0;              // 0: the whole sequence in one step
  int64_t context = 0;            // tokens; 0: not even one fits
  Tag broken_by = Tag::kv_cache;  // what one step further does not fit
};

// Where `b` overtakes `a` in a metric.
struct CrossoverPoint {
  double context = 0;
  double low = 0, high = 0;  // between these the two confidence intervals overlap
};
struct ModelCrossover {
  std::string a{}, b{};
  std::string metric{};                  // "ttft", "tpot", "memory", "energy"
  std::string configuration{};           // in words
  std::vector<CrossoverPoint> points{};  // none: they never cross in the measured range
  std::string note{};                    // "never: b is ahead throughout"
};

// The score of a model on a task, from a file of the reader's.
struct Accuracy {
  std::string model{};
  std::string task{};
  double score = 0;
};

// Ceilings of a machine for one type.
struct Ceiling {
  std::string device{};
  DType dtype = DType::f32;
  double ops_per_s = 0;
  double bytes_per_s = 0;
  std::string source{};  // "calibrated", "datasheet"
};

// A machine that measured and a device that was predicted for, which are the same though they are
// called differently.
struct SameDevice {
  std::string machine{};  // as measured: "AMD EPYC"
  std::string device{};   // as predicted: "epyc-9654"
};

// Bytes in use by tag over one pass; a value holds until the next point.
struct MemoryPoint {
  double time_s = 0;
  MemoryByTag bytes{};
};
struct MemoryTimeline {
  std::string title{};  // "Qwen2.5-0.5B, 4096 tokens, prefill"
  std::vector<MemoryPoint> points{};
};

struct Study {
  std::string title{};
  std::vector<Record> records{};
  std::vector<ContextLimit> limits{};
  std::vector<ModelCrossover> crossovers{};
  std::vector<Accuracy> accuracies{};
  std::vector<Ceiling> ceilings{};
  std::vector<MemoryTimeline> timelines{};
  std::vector<SameDevice> same_devices{};
};

}  // namespace tidemark
