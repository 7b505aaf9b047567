// How the elementwise operators cover [rows, width]: a thread takes one run of a row, of 16 bytes
// where every row is aligned to that.
#pragma once

#include <initializer_list>

#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {

inline constexpr int elementwise_threads = 256;

// Whether all of them can be moved 16 bytes at a time. Null pointers are absent operands.
inline bool rows_aligned(DType dtype, int64_t width, std::initializer_list<const void*> pointers,
                         std::initializer_list<int64_t> strides) {
  const int64_t full = dtype == DType::bf16 ? 8 : 4;
  bool aligned = width % full == 0;
  for (const void* p : pointers) aligned = aligned && is_multiple_of(p, 16);
  for (const int64_t s : strides) aligned = aligned && s % full == 0;
  return aligned;
}

// Block x: row; block y: columns.
inline dim3 grid_of_rows(int64_t rows, int64_t width, int vector) {
  const int64_t columns = int64_t{elementwise_threads} * vector;
  return dim3(static_cast<unsigned>(rows), static_cast<unsigned>((width + columns - 1) / columns));
}
template <int kVector>
__device__ inline int own_column() {
  return static_cast<int>(blockIdx.y * elementwise_threads + threadIdx.x) * kVector;
}

}  // namespace tidemark::cuda
