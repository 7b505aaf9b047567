// Where a KV cache with a window keeps a position.
#pragma once

#include <cstdint>

namespace tidemark::cuda {

// The first `sinks` positions have slots of their own, behind them the cache is a ring.
__device__ inline int64_t ring_slot(int64_t position, int64_t capacity, int64_t sinks) {
  return position < sinks ? position : sinks + (position - sinks) % (capacity - sinks);
}

}  // namespace tidemark::cuda
