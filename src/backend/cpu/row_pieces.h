// Elementwise operators share work by elements, not rows, so that one long row is shared too.
#pragma once

#include <algorithm>
#include <cstdint>

namespace tidemark {

// Elements [begin, end) of rows of `width` laid end to end, as piece(row, col, count).
template <class Piece>
void for_row_pieces(int64_t begin, int64_t end, int64_t width, const Piece& piece) {
  while (begin < end) {
    const int64_t row = begin / width, col = begin % width;
    const int64_t count = std::min(width - col, end - begin);
    piece(row, col, count);
    begin += count;
  }
}

}  // namespace tidemark
