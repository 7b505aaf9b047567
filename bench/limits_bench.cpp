// What the machine can do at best: the ceilings kernels are compared with in docs/kernels.md.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "../bench/limits_bench.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

constexpr int chains = 12;  // enough independent sums to hide the latency of a multiply-add

// `rounds` multiply-adds on each of 12 vectors; returns operations done.
int64_t multiply_adds(int64_t rounds, float* result) {
  Vec sum[chains];
  for (int i = 0; i < chains; ++i) sum[i] = all(static_cast<float>(i));
  const Vec a = all(result[0]), b = all(result[1]);
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) sum[i] = hn::MulAdd(sum[i], a, b);
  for (int i = 1; i < chains; ++i) sum[0] = hn::Add(sum[0], sum[i]);
  store(sum[0], result);
  return rounds * chains * lanes * 2;
}

int64_t exponentials(int64_t rounds, float* result) {
  Vec sum[4];
  for (int i = 0; i < 4; ++i) sum[i] = all(-1.0F - static_cast<float>(i));
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sum[i] = hn::Sub(exp2(sum[i]), all(1.5F));
  for (int i = 1; i < 4; ++i) sum[0] = hn::Add(sum[0], sum[i]);
  store(sum[0], result);
  return rounds * 4 * lanes;
}

float read_all(const float* from, int64_t count) {
  Vec sum[4] = {all(0), all(0), all(0), all(0)};
  for (int64_t i = 0; i + 4 * lanes <= count; i += 4 * lanes)
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) sum[j] = hn::Add(sum[j], load(from + i + j * lanes));
  return tidemark::cpu::HWY_NAMESPACE::sum(
      hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3])));
}

// In place, so that every line is read and written once, as a state is.
void update_all(float* at, int64_t count) {
  for (int64_t i = 0; i + lanes <= count; i += lanes)
    store(hn::MulAdd(load(at + i), all(0.5F), all(1.0F)), at + i);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <benchmark/benchmark.h>

#include <vector>

#include "backend/cpu/parallel.h"

namespace tidemark::cpu {
namespace {

HWY_EXPORT(multiply_adds);
HWY_EXPORT(exponentials);
HWY_EXPORT(read_all);
HWY_EXPORT(update_all);

constexpr int64_t floats = int64_t{64} << 20;  // 256 MiB, past any cache

std::vector<float>& memory() {
  static std::vector<float> values(floats, 1.25F);
  return values;
}

void multiply_add_limit(benchmark::State& state) {
  const int threads = static_cast<int>(state.range(0));
  for (auto _ : state)
    parallel_ranges(threads, threads, 1, [&](int64_t, int64_t, int) {
      float result[64] = {0.5F, 0.25F};
      HWY_DYNAMIC_DISPATCH(multiply_adds)(100000, result);
      benchmark::DoNotOptimize(result[0]);
    });
  float result[64] = {0.5F, 0.25F};
  const auto operations =
      static_cast<double>(HWY_DYNAMIC_DISPATCH(multiply_adds)(100000, result)) * threads;
  state.counters["GFLOP/s"] =
      benchmark::Counter(operations * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(multiply_add_limit)->Arg(1);
BENCHMARK(multiply_add_limit)->Arg(omp_get_num_procs())->UseRealTime();

void exponential_limit(benchmark::State& state) {
  const int threads = static_cast<int>(state.range(0));
  for (auto _ : state)
    parallel_ranges(threads, threads, 1, [&](int64_t, int64_t, int) {
      float result[64];
      HWY_DYNAMIC_DISPATCH(exponentials)(50000, result);
      benchmark::DoNotOptimize(result[0]);
    });
  float result[64];
  const auto operations =
      static_cast<double>(HWY_DYNAMIC_DISPATCH(exponentials)(50000, result)) * threads;
  state.counters["Gexp/s"] =
      benchmark::Counter(operations * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(exponential_limit)->Arg(1);
BENCHMARK(exponential_limit)->Arg(omp_get_num_procs())->UseRealTime();

void bytes_per_iteration(benchmark::State& state, double bytes) {
  state.counters["GB/s"] =
      benchmark::Counter(bytes * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void read_limit(benchmark::State& state) {
  const int threads = static_cast<int>(state.range(0));
  const std::vector<float>& values = memory();
  for (auto _ : state)
    parallel_ranges(threads, floats, 1, [&](int64_t begin, int64_t end, int) {
      benchmark::DoNotOptimize(HWY_DYNAMIC_DISPATCH(read_all)(values.data() + begin, end - begin));
    });
  bytes_per_iteration(state, 4.0 * floats);
}
BENCHMARK(read_limit)->Arg(1);
BENCHMARK(read_limit)->Arg(omp_get_num_procs())->UseRealTime();

void update_limit(benchmark::State& state) {
  const int threads = static_cast<int>(state.range(0));
  std::vector<float>& values = memory();
  for (auto _ : state)
    parallel_ranges(threads, floats, 1, [&](int64_t begin, int64_t end, int) {
      HWY_DYNAMIC_DISPATCH(update_all)(values.data() + begin, end - begin);
    });
  bytes_per_iteration(state, 8.0 * floats);
}
BENCHMARK(update_limit)->Arg(1);
BENCHMARK(update_limit)->Arg(omp_get_num_procs())->UseRealTime();

void copy_limit(benchmark::State& state) {
  const int threads = static_cast<int>(state.range(0));
  std::vector<float>& values = memory();
  const int64_t half = floats / 2;
  for (auto _ : state)
    parallel_ranges(threads, half, 1, [&](int64_t begin, int64_t end, int) {
      std::memcpy(values.data() + begin, values.data() + half + begin,
                  static_cast<size_t>(end - begin) * 4);
    });
  bytes_per_iteration(state, 4.0 * floats);
}
BENCHMARK(copy_limit)->Arg(1);
BENCHMARK(copy_limit)->Arg(omp_get_num_procs())->UseRealTime();

}  // namespace
}  // namespace tidemark::cpu
#endif
