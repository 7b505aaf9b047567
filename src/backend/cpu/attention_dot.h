// The two products of decode attention in bf16 with AVX-512's vdpbf16ps, on keys and values as they
// lie in the cache. For units that say so (Bf16Unit::dots).
#pragma once

#include <cstdint>

#include "base/bf16.h"

namespace tidemark::cpu {

// scores[h * row + j] = q[h * q_row ..] . k[j * k_stride ..], for `count` keys of `width` elements;
// scores are written up to a multiple of 4. Rows of q are padded with zeros to a multiple of 32.
void dot_scores(const Bf16* q, int64_t q_row, int64_t heads, const Bf16* k, int64_t k_stride,
                int64_t count, int64_t width, float* scores, int64_t row);

// out[h * out_row + i] += sum over j of p[h * row + j] * v[j * v_stride + i], for `count` keys; p
// is zero from there to an even number. Rows of out are padded to a multiple of 32.
void dot_values(const Bf16* p, int64_t row, int64_t heads, const Bf16* v, int64_t v_stride,
                int64_t count, int64_t width, float* out, int64_t out_row);

}  // namespace tidemark::cpu
