// What hardware prefetchers do not follow far enough, kernels fetch ahead themselves: rows of a
// head or of some channels, which lie a whole row of the tensor apart, and streams from memory
// between which a kernel computes.
#pragma once

#include <cstdint>

namespace tidemark::cpu {

inline constexpr int64_t rows_ahead = 16;

// Starts fetching `count` elements, of a row that may lie past the end.
template <class T>
inline void prefetch_row(const T* from, int64_t count) {
  constexpr auto line = static_cast<int64_t>(64 / sizeof(T));
  for (int64_t i = 0; i < count; i += line) __builtin_prefetch(from + i);
}

// The same of a row that is about to be written.
template <class T>
inline void prefetch_to_write(const T* to, int64_t count) {
  constexpr auto line = static_cast<int64_t>(64 / sizeof(T));
  for (int64_t i = 0; i < count; i += line) __builtin_prefetch(to + i, 1);
}

// Starts fetching into the L2 cache the line that a stream from memory comes to 4096 elements
// later. Not into the L1: there it costs Zen 4 a quarter of the bandwidth of 8-bit weights.
template <class T>
inline void prefetch_ahead(const T* at) {
  __builtin_prefetch(at + 4096, 0, 2);
}

}  // namespace tidemark::cpu
