#include "model/int8.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"

namespace tidemark {
namespace {

constexpr float most_steps = 127, least_steps = 117;

// Of a positive number: bf16 at or above it, so that the largest weight has no more than 127 steps.
Bf16 rounded_up(float value) {
  Bf16 up;
  up.bits = static_cast<uint16_t>((std::bit_cast<uint32_t>(value) + 0xffffu) >> 16);
  return up;
}

// To the nearest integer below 2^22, of two equally near the even one. A sum with 1.5 * 2^23 has no
// bits for what is behind the point; this loop is what loading spends its time in.
float nearest(float value) {
  constexpr float magic = 12582912;
  return (value + magic) - magic;
}

float largest(std::span<const float> x) {
  float most = 0;
  for (const float value : x) {
    const float size = std::abs(value);
    if (size > most || std::isnan(size)) most = size;  // and nothing is larger than NaN
  }
  return most;
}

// To the nearest bf16, halves away from zero, as products lay weights out.
float in_bf16(float value) {
  return std::bit_cast<float>((std::bit_cast<uint32_t>(value) + 0x8000u) & 0xffff0000u);
}

template <bool and_bf16>
float squared_error(std::span<const float> x, float scale) {
  const float inverse = 1 / scale;
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < x.size(); ++i) {
    const float weight = nearest(x[i] * inverse) * scale;
    const float error = x[i] - weight, rounded = x[i] - in_bf16(weight);
    sum += and_bf16 ? error * error + rounded * rounded : error * error;
  }
  return sum;
}

}  // namespace

Bf16 round_to_int8(std::span<const float> x, bool and_bf16, std::span<int8_t> q) {
  const auto error_at = [&](Bf16 scale) {
    const auto value = static_cast<float>(scale);
    return and_bf16 ? squared_error<true>(x, value) : squared_error<false>(x, value);
  };
  const float most = largest(x);
  // Below, the squares of errors have no digits left.
  constexpr float least = 1e-15F;
  if (!(most > least) || !std::isfinite(most)) {
    std::ranges::fill(q, int8_t{0});
    return Bf16(most > least || std::isnan(most) ? most : 0.0F);
  }
  Bf16 best = rounded_up(most / most_steps);
  float least_error = error_at(best);
  for (float steps = most_steps - 0.5F; steps >= least_steps; steps -= 0.5F) {
    const Bf16 scale = rounded_up(most / steps);
    if (scale.bits == best.bits) continue;
    const float error = error_at(scale);
    if (error < least_error) least_error = error, best = scale;
  }
  const float inverse = 1 / static_cast<float>(best);
  for (size_t i = 0; i < x.size(); ++i)
    q[i] = static_cast<int8_t>(std::clamp(nearest(x[i] * inverse), -most_steps, most_steps));
  return best;
}

std::vector<Bf16> fill_int8(const WeightSource& source, WeightId id, int64_t rows, int64_t cols,
                            int64_t group, std::span<std::byte> out) {
  if (static_cast<int64_t>(out.size()) != rows * cols)
    fail("weight {}: {} rows of {} bytes don't fit {}", id, rows, cols, out.size());
  constexpr int64_t at_once = 1 << 21;  // values in fp32
  const int64_t block = std::clamp(at_once / cols, int64_t{1}, rows);
  const int64_t groups = (cols + group - 1) / group;
  const bool and_bf16 = group < cols;
  std::vector<float> values(static_cast<size_t>(block * cols));
  std::vector<Bf16> scales(static_cast<size_t>(rows * groups));
  auto* to = reinterpret_cast<int8_t*>(out.data());
  for (int64_t first = 0; first < rows; first += block) {
    const int64_t count = std::min(block, rows - first);
    source.fill(id, first, count, DType::f32,
                std::as_writable_bytes(std::span(values).first(static_cast<size_t>(count * cols))));
#pragma omp parallel for schedule(static) if (count * cols > 65536)
    for (int64_t row = 0; row < count; ++row)
      for (int64_t g = 0; g < groups; ++g) {
        const auto size = static_cast<size_t>(std::min(group, cols - g * group));
        scales[static_cast<size_t>((first + row) * groups + g)] =
            round_to_int8({values.data() + row * cols + g * group, size}, and_bf16,
                          {to + (first + row) * cols + g * group, size});
      }
  }
  for (size_t i = 0; i < scales.size(); ++i)
    if (!std::isfinite(static_cast<float>(scales[i])))
      fail("weight {}: row {} holds what is not a finite number and has no 8-bit form", id,
           static_cast<int64_t>(i) / groups);
  return scales;
}

}  // namespace tidemark
