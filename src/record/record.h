// Record: one measured or predicted result. The same rows for both; only `source` differs.
// Times are in seconds, sizes in bytes, energy in joules. What was not measured is absent
// (nullopt), never zero. Members have initialisers so that designated ones may leave them out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/device_time.h"
#include "base/error.h"
#include "base/memory_by_tag.h"
#include "base/vocab.h"

namespace tidemark {

enum class Source { measured, predicted };

// What an operator's predicted time is made of most.
enum class Bound { compute, bandwidth, launch };

// What a result is a result of. Two records of one cell answer the same question.
struct Cell {
  std::string model{};
  std::string family{};
  std::string device{};  // "cpu", "cuda:0", or the name of a device profile
  DType dtype = DType::f32;
  int64_t batch = 1;
  int64_t context = 0;     // prompt tokens per sequence
  int64_t new_tokens = 1;  // output tokens, the first of which the prefill gives
  int64_t chunk = 0;       // prefill tokens per step
  LogitsPolicy logits = LogitsPolicy::last;
  int64_t threads = 0;             // as resolved, not as asked
  int64_t memory_limit_bytes = 0;  // 0: none but the device's own
  bool operator==(const Cell&) const = default;
};

// A readable line of every field. Stores hold it: it never changes for a given cell.
std::string cell_key(const Cell&);

// Order statistics of a sample; docs/measuring.md defines each, and what a prediction has there.
struct Summary {
  double median = 0;
  double p5 = 0, p95 = 0;
  double ci_low = 0, ci_high = 0;  // interval of the median; of one run there is none
  double ci_coverage = 0;          // its actual coverage: 0.95 or more, less when n is below 6
  int64_t n = 0;
  std::vector<double> samples{};  // in the order they were taken
  bool operator==(const Summary&) const = default;
};

// Half the width of the interval of the median, relative to the median.
double relative_half_width(const Summary&);

enum class StopReason { narrow_interval, time_budget, max_runs };

// Why the measurement ended.
struct Stopping {
  StopReason reason = StopReason::max_runs;
  double threshold = 0;                   // relative half-width asked of the interval of the median
  std::optional<double> time_budget_s{};  // for warm-up and runs; older records lack it
  std::optional<double> relative_half_width{};  // reached: the widest watched; absent with one run
  int64_t warmup_runs = 0;
  int64_t runs = 0;
  double elapsed_s = 0;  // the runs, without the warm-up
  bool operator==(const Stopping&) const = default;
};

struct Metrics {
  std::optional<Summary> ttft_s{};        // one prefill to the first token
  std::optional<Summary> tpot_s{};        // per output token after the first; absent at 1 new token
  std::optional<Summary> end_to_end_s{};  // both of one generation
  std::optional<Summary> prefill_tokens_per_s{};
  std::optional<Summary> decode_tokens_per_s{};
  std::vector<std::vector<double>> decode_step_s{};  // [generation][step]
  std::optional<Stopping> stopping{};                // absent in a prediction
  bool operator==(const Metrics&) const = default;
};

struct Memory {
  MemoryByTag predicted{};                  // by the plan
  std::optional<MemoryByTag> high_water{};  // measured in the arenas
  std::optional<int64_t> driver_bytes{};    // device context and libraries, outside the arenas
  std::optional<int64_t> peak_rss_bytes{};  // of the process, while this cell ran
  int64_t budget_bytes = 0;                 // what the arenas were allowed; 0: unknown
  bool operator==(const Memory&) const = default;
};

// One operator of a phase, summed over the steps (chunks) of one pass.
struct OperatorRow {
  int64_t index = 0;  // place in execution order
  std::string op{};   // name in the op table
  Category category = Category::gemm;
  Role role = Role::embed;
  int32_t layer = -1;         // -1: before the first or after the last layer
  int64_t calls = 0;          // per pass
  double time_s = 0;          // per pass
  int64_t ops = 0;            // per pass
  int64_t bytes_read = 0;     // per pass
  int64_t bytes_written = 0;  // per pass
  std::string implementation{};
  // Of a prediction: what limits it, and the interval of time_s.
  std::optional<Bound> bound{};
  std::optional<double> time_low_s{}, time_high_s{};
  bool operator==(const OperatorRow&) const = default;
};

// The operator-level runs of one phase, apart from the pass-level ones. Times are means over the
// middle half of the passes by wall time: outliers are left out, and unlike medians the row times
// and gap_s still add up to wall_s. A decode pass is one step at past = context. On a GPU whose own
// clock is read, everything but `device` is what kernels take there one after the other: waits
// between launches that are there only while each is watched would be a part of no operator.
struct OperatorProfile {
  int64_t passes = 0;
  double wall_s = 0;                   // of a profiled pass; of a GPU, how long it was busy
  double gap_s = 0;                    // wall_s minus the rows: time spent in no operator
  std::optional<double> overhead{};    // wall_s / the unprofiled median
  std::optional<DeviceTime> device{};  // never added to operator times
  std::vector<OperatorRow> rows{};
  bool operator==(const OperatorProfile&) const = default;
};

// Energy of one prefill, or of one decode step of all sequences (the mean over a generation's).
struct Energy {
  double total_j = 0;
  std::optional<double> pass_s{};  // what it took while that was measured, for 2 s or more
  std::optional<double>
      baseline_j{};     // what the idle machine takes in the same time; within total_j
  double window_s = 0;  // length of the measured window; in a prediction, of the pass
  std::string sensor{};
  std::optional<double> low_j{}, high_j{};  // interval of a predicted total_j
  bool operator==(const Energy&) const = default;
};

struct Provenance {
  std::string device_name{};  // "NVIDIA H200"; of a CPU the same as cpu
  std::string cpu{};
  std::string isa{};                     // what the kernels were dispatched to
  int64_t threads = 0;                   // of a GPU its multiprocessors; in a prediction 0
  int64_t memory_bytes = 0;              // of the machine; in a prediction the device's
  std::string os{};                      // distribution and kernel
  std::vector<std::string> libraries{};  // "oneDNN 2.6.3"
  std::string compiler{};
  std::string version{};  // of Tidemark
  std::string commit = "unknown";
  bool dirty = false;  // built with uncommitted changes
  std::string date{};  // ISO 8601, UTC, of the start
  bool operator==(const Provenance&) const = default;
};

struct Record {
  Source source = Source::measured;
  Cell cell{};
  std::string weights{};  // "synthetic, seed 0" or "folder/model.safetensors"
  std::string prompt{};   // "random, seed 0" or the file's name
  Outcome outcome = Outcome::ok;
  std::string reason{};  // one line when the outcome is not ok
  Metrics metrics{};
  Memory memory{};
  std::optional<OperatorProfile> prefill{}, decode{};
  std::optional<Energy> prefill_energy{}, decode_energy{};
  std::vector<std::string>
      flags;  // clock, throttling, temperature: they mark, never empty a result
  Provenance provenance{};
  bool operator==(const Record&) const = default;
};

// "NVIDIA H200"; of a CPU its name, which older records have as `cpu` alone on some machines.
std::string machine_of(const Record&);

std::string_view name(Source);
std::string_view name(Outcome);
std::string_view name(StopReason);
std::string_view name(Bound);

}  // namespace tidemark
