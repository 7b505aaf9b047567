// How attention.cpp cuts its work; apart from it because it is the same for every instruction set.
#pragma once

#include <cstdint>

namespace tidemark::cpu {

inline constexpr int64_t target_rows = 128;  // query rows of a tile
inline constexpr int64_t key_tile = 96;      // keys per tile
inline constexpr int64_t key_block = 32;     // keys per block of decode

struct AttentionTiles {
  int64_t group;      // query heads per key/value head
  int64_t positions;  // query positions of a tile
  int64_t tiles;      // of a sequence and key/value head
  int64_t rows;       // query rows of a tile, padded to whole vectors
  int64_t splits;     // of the context, when decoding
};

}  // namespace tidemark::cpu
