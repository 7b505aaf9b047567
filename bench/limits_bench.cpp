// The machine's limits, one line each.
#include <benchmark/benchmark.h>
#include <omp.h>

#include "limits.h"

namespace tidemark::cpu {
namespace {

void add(const char* name, const char* unit, int64_t (*work)(int)) {
  const auto run = [=](benchmark::State& state) {
    int64_t done = 0;
    work(static_cast<int>(state.range(0)));  // memory is taken at the first call
    for (auto _ : state) done += work(static_cast<int>(state.range(0)));
    state.counters[unit] =
        benchmark::Counter(static_cast<double>(done) * 1e-9, benchmark::Counter::kIsRate);
  };
  benchmark::RegisterBenchmark(name, run)->Arg(1);
  benchmark::RegisterBenchmark(name, run)->Arg(omp_get_num_procs())->UseRealTime();
}

[[maybe_unused]] const bool registered = [] {
  add("multiply_add_limit", "GFLOP/s", multiply_adds);
  add("exponential_limit", "Gexp/s", exponentials);
  add("read_limit", "GB/s", read_memory);
  add("update_limit", "GB/s", update_memory);
  add("copy_limit", "GB/s", copy_memory);
  return true;
}();

}  // namespace
}  // namespace tidemark::cpu
