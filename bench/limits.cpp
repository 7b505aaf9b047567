#include "limits.h"

#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "../bench/limits.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

constexpr int chains = 12;  // independent of one another, enough to hide any latency

// `rounds` multiply-adds on each of 12 vectors; returns operations done.
int64_t fma_rounds(int64_t rounds, float* result) {
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

int64_t exp_rounds(int64_t rounds, float* result) {
  Vec sum[chains];
  for (int i = 0; i < chains; ++i) sum[i] = all(-1.0F - static_cast<float>(i));
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) sum[i] = hn::Sub(exp2(sum[i]), all(1.5F));
  for (int i = 1; i < chains; ++i) sum[0] = hn::Add(sum[0], sum[i]);
  store(sum[0], result);
  return rounds * chains * lanes;
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
#include <algorithm>

#include "backend/arena.h"
#include "backend/cpu/parallel.h"

namespace tidemark::cpu {

HWY_EXPORT(fma_rounds);
HWY_EXPORT(exp_rounds);
HWY_EXPORT(read_all);
HWY_EXPORT(update_all);

namespace {

constexpr int64_t floats = int64_t{64} << 20;

// On large pages where the system grants them, as weights are.
float* memory(int threads) {
  static Arena arena(Tag::workspace, 4 * floats, threads);
  auto* values = reinterpret_cast<float*>(arena.at(0, 4 * floats));
  static const bool filled = (std::fill(values, values + floats, 1.25F), true);
  return filled ? values : nullptr;
}

// `rounds` of work in every thread; what none of them needs is written where the compiler sees it.
template <class Rounds>
int64_t in_all_threads(int threads, int64_t rounds, const Rounds& work) {
  std::atomic<int64_t> done = 0;
  parallel_ranges(threads, threads, 1, [&](int64_t, int64_t, int) {
    float result[64] = {0.5F, 0.25F};
    done += work(rounds, result);
  });
  return done;
}

}  // namespace

int64_t multiply_adds(int threads) {
  return in_all_threads(threads, 100000, [](int64_t rounds, float* result) {
    return HWY_DYNAMIC_DISPATCH(fma_rounds)(rounds, result);
  });
}

int64_t exponentials(int threads) {
  return in_all_threads(threads, 50000, [](int64_t rounds, float* result) {
    return HWY_DYNAMIC_DISPATCH(exp_rounds)(rounds, result);
  });
}

int64_t read_memory(int threads) {
  const float* values = memory(threads);
  std::atomic<int64_t> positive = 0;
  parallel_ranges(threads, floats, 1, [&](int64_t begin, int64_t end, int) {
    positive += HWY_DYNAMIC_DISPATCH(read_all)(values + begin, end - begin) > 0 ? 1 : 0;
  });
  return positive > 0 ? 4 * floats : 0;
}

int64_t update_memory(int threads) {
  float* values = memory(threads);
  parallel_ranges(threads, floats, 1, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(update_all)(values + begin, end - begin);
  });
  return 8 * floats;
}

int64_t copy_memory(int threads) {
  float* values = memory(threads);
  const int64_t half = floats / 2;
  parallel_ranges(threads, half, 1, [&](int64_t begin, int64_t end, int) {
    std::memcpy(values + begin, values + half + begin, static_cast<size_t>(end - begin) * 4);
  });
  return 4 * floats;
}

}  // namespace tidemark::cpu
#endif
