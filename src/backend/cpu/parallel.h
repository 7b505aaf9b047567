// The one place that knows OpenMP. Vector code stays outside the pragmas: an outlined region does
// not always inherit the target attributes of the function around it.
#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>

#include "backend/cpu/flush_tiny.h"

namespace tidemark {

// body(begin, end, thread) on contiguous shares of [0, items). With fewer than two grains of work
// everything runs here; otherwise on the whole team, because libgomp ends threads when a team
// shrinks. An exception of a share is thrown again after all have ended.
template <class Body>
void parallel_ranges(int threads, int64_t items, int64_t grain, const Body& body) {
  if (threads == 1 || items < 2 * grain || items < 2) {
    const cpu::FlushTiny flush;
    if (items > 0) body(int64_t{0}, items, 0);
    return;
  }
  std::exception_ptr error;
#pragma omp parallel num_threads(threads)
  {
    const cpu::FlushTiny flush;
    const int64_t shares = omp_get_num_threads(), share = omp_get_thread_num();
    const int64_t begin = items * share / shares, end = items * (share + 1) / shares;
    try {
      if (begin < end) body(begin, end, static_cast<int>(share));
    } catch (...) {
#pragma omp critical
      error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

// body(begin, end, thread) for parts of [0, items), handed out in order, each some of what is left
// in multiples of grain: cores of different speed, or one that others use, end at the same time,
// and long runs stay long.
template <class Body>
void parallel_parts(int threads, int64_t items, int64_t grain, const Body& body) {
  if (threads == 1 || items < 2 * grain) return parallel_ranges(1, items, grain, body);
  std::atomic<int64_t> next = 0;
  parallel_ranges(threads, threads, 1, [&](int64_t, int64_t, int thread) {
    for (int64_t begin = next.load(); begin < items;) {
      const int64_t part = std::max(grain, (items - begin) / (2 * threads) / grain * grain);
      const int64_t end = std::min(items, begin + part);
      if (!next.compare_exchange_weak(begin, end)) continue;
      body(begin, end, thread);
      begin = next.load();
    }
  });
}

// body(item, thread) for every item, handed out one at a time, in order: for uneven work.
template <class Body>
void parallel_items(int threads, int64_t items, const Body& body) {
  std::atomic<int64_t> next = 0;
  const int64_t grain = 1, shares = items < threads ? items : threads;
  parallel_ranges(shares < 2 ? 1 : threads, shares < 2 ? 1 : threads, grain,
                  [&](int64_t begin, int64_t, int thread) {
                    (void)begin;
                    for (int64_t item; (item = next.fetch_add(1)) < items;) body(item, thread);
                  });
}

}  // namespace tidemark
