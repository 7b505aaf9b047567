// Weights in 8 bits: symmetric, a scale per group of a row's columns, rounded to nearest
// (docs/quantization.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/bf16.h"
#include "model/load.h"

namespace tidemark {

// q = round(x / scale), at most 127 to either side, of two equally near integers the even one. The
// scale is that among max|x| / 127, / 126.5, ... / 117, each rounded up to bf16, which leaves the
// least sum of squared errors of scale * q, and_bf16 of that and of it rounded to bf16 together. It
// is 0 for zeros, and not finite where a value isn't; q is then zero.
Bf16 round_to_int8(std::span<const float> x, bool and_bf16, std::span<int8_t> q);

// Weight `id` [rows, cols] as i8 into `out`, from the source's values in fp32 a few rows at a time.
// Returns the scales [rows, cols / group, rounded up]; fails where a value is not finite. Of more
// than one scale a row (w8a16), decode takes scale * q as it is and products of many rows round it
// to bf16, so the scale is chosen for both. Uses OpenMP inside.
std::vector<Bf16> fill_int8(const WeightSource&, WeightId id, int64_t rows, int64_t cols,
                            int64_t group, std::span<std::byte> out);

}  // namespace tidemark
