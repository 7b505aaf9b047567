// Rows of a head or of some channels lie a whole row of the tensor apart, further than hardware
// prefetchers follow: kernels that walk down them fetch ahead themselves.
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

}  // namespace tidemark::cpu
