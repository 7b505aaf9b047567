// How attention is cut into tasks, and the ways that attention.cpp has to run it; apart from them
// because it is the same for every instruction set.
#pragma once

#include <cstdint>

#include "backend/cpu/bf16_product.h"
#include "backend/cpu/context.h"
#include "plan/ops.h"

namespace tidemark::cpu {

inline constexpr int64_t key_tile = 96;  // keys per tile in fp32

// Tasks of many positions.
struct AttentionTiles {
  int64_t group;      // query heads per key/value head
  int64_t positions;  // query positions of a tile
  int64_t tiles;      // of a sequence and key/value head
  int64_t rows;       // query rows of a tile, padded to whole vectors
};
// Of up to `target_rows` rows, of fewer rather than less than `tasks` for each thread.
AttentionTiles tiles_of(const Attention& op, int threads, int64_t target_rows, int64_t tasks);

// attention_bf16.cpp: many positions in bf16, on the unit of the context.
int64_t bf16_attention_bytes(const Attention& op, const CpuContext& context);
void run_bf16_attention(const Attention& op, const CpuContext& context);

// attention_decode.cpp: one position, in splits of the context.
struct DecodeSplits {
  int64_t group, splits;  // query heads per key/value head
};
inline constexpr int64_t key_block = 32;  // keys that are scored at a time in fp32 ...
inline constexpr int64_t bf16_keys = 64;  // ... and on a bf16 unit
std::string_view decode_variant(const Attention& op, const CpuContext& context);
int64_t decode_attention_bytes(const Attention& op, const CpuContext& context);
void run_decode_attention(const Attention& op, const CpuContext& context);

}  // namespace tidemark::cpu
