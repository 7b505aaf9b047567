#include "model/int8.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "base/error.h"

namespace tidemark {
namespace {

std::vector<int8_t> rounded(const std::vector<float>& x, float& scale, bool and_bf16 = false) {
  std::vector<int8_t> q(x.size());
  scale = static_cast<float>(round_to_int8(x, and_bf16, q));
  return q;
}

TEST(Int8, WeightsAreRoundedToNearestOnBothSidesAlike) {
  float scale = 0;
  // Exact at a scale of 1, and so is no other.
  EXPECT_EQ(rounded({127, -63, 2, -126}, scale), (std::vector<int8_t>{127, -63, 2, -126}));
  EXPECT_EQ(scale, 1);
  // Halves go to the even neighbour: many exact ones hold the scale at 2.
  std::vector<float> x(4000, 254);
  x[1] = 5, x[2] = 7, x[3] = -5, x[4] = -7;
  const std::vector<int8_t> q = rounded(x, scale);
  EXPECT_EQ(scale, 2);
  EXPECT_EQ(std::vector<int8_t>(q.begin() + 1, q.begin() + 5), (std::vector<int8_t>{2, 4, -2, -4}));
}

TEST(Int8, TheScaleLeavesTheLeastSquaredError) {
  // With the largest at 127 steps of 1 the others lie half way; at 125.5 steps they do not.
  std::vector<float> x(40, 62.5F);
  x[0] = 127;
  float scale = 0;
  const std::vector<int8_t> q = rounded(x, scale);
  double found = 0, at_127 = 39 * 0.25;
  for (size_t i = 0; i < x.size(); ++i) found += std::pow(x[i] - q[i] * scale, 2);
  EXPECT_LT(found, at_127 / 2);
  EXPECT_GE(scale, 1);
  EXPECT_LE(scale, 127.0F / 117 * 1.01F);
}

// To 8 binary digits, halves away from zero.
double in_bf16(double value) {
  int exponent = 0;
  const double part = std::frexp(value, &exponent);
  return std::ldexp(std::round(std::ldexp(part, 8)), exponent - 8);
}

TEST(Int8, TheScaleIsChosenForWhatBf16KeepsOfAWeightToo) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 0.02F);
  double of_exact = 0, of_both = 0;
  for (int group = 0; group < 300; ++group) {
    std::vector<float> x(32);
    for (float& value : x) value = normal(random);
    const auto error = [&](bool and_bf16) {
      float scale = 0;
      const std::vector<int8_t> q = rounded(x, scale, and_bf16);
      double sum = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        const double weight = static_cast<double>(q[i]) * scale;
        sum += std::pow(x[i] - weight, 2) + std::pow(x[i] - in_bf16(weight), 2);
      }
      return sum;
    };
    const double exact = error(false), both = error(true);
    ASSERT_LE(both, exact * 1.0001) << "group " << group;
    of_exact += exact, of_both += both;
  }
  EXPECT_LT(of_both, 0.995 * of_exact);
}

TEST(Int8, GroupsOfZerosAndOfWhatIsNoNumberHaveNoSteps) {
  float scale = 1;
  EXPECT_EQ(rounded({0, -0.0F}, scale), (std::vector<int8_t>{0, 0}));
  EXPECT_EQ(scale, 0);
  EXPECT_EQ(rounded({1e-45F, 0}, scale), (std::vector<int8_t>{0, 0}));
  EXPECT_EQ(scale, 0);
  rounded({1, std::numeric_limits<float>::quiet_NaN(), 2}, scale);
  EXPECT_TRUE(std::isnan(scale));
  rounded({1, -std::numeric_limits<float>::infinity()}, scale);
  EXPECT_TRUE(std::isinf(scale));
}

// The seeded weights of a real shape, more than are rounded at once: each group has its own scale,
// within it no value is more than half a step off, and all steps are used.
TEST(Int8, WeightsOfASourceAreWithinHalfAStep) {
  const ModelSpec spec = load_spec("mamba2-130m");
  const auto source = synthetic_weights(spec, 3);
  const int64_t rows = 3000, cols = spec.weights[static_cast<size_t>(spec.embedding)].cols;
  std::vector<float> values(static_cast<size_t>(rows * cols));
  source->fill(spec.embedding, 0, rows, DType::f32, std::as_writable_bytes(std::span(values)));
  for (const int64_t group : {int64_t{32}, int64_t{500}, cols}) {
    std::vector<std::byte> out(static_cast<size_t>(rows * cols));
    const std::vector<Bf16> scales = fill_int8(*source, spec.embedding, rows, cols, group, out);
    const int64_t groups = (cols + group - 1) / group;
    ASSERT_EQ(static_cast<int64_t>(scales.size()), rows * groups);
    int least = 127;
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t first = 0; first < cols; first += group) {
        const auto scale =
            static_cast<float>(scales[static_cast<size_t>(row * groups + first / group)]);
        int most = 0;
        for (int64_t col = first; col < std::min(first + group, cols); ++col) {
          const auto at = static_cast<size_t>(row * cols + col);
          const int q = static_cast<int8_t>(out[at]);
          ASSERT_LE(std::abs(values[at] - static_cast<float>(q) * scale), 0.5001F * scale) << row;
          most = std::max(most, std::abs(q));
        }
        least = std::min(least, most);
      }
    EXPECT_GE(least, 115) << "of 117 steps, less what rounding a scale up takes";
  }
}

class Broken final : public WeightSource {
 public:
  void fill(WeightId, int64_t row_begin, int64_t rows, DType,
            std::span<std::byte> out) const override {
    auto* values = reinterpret_cast<float*>(out.data());
    const auto cols = static_cast<int64_t>(out.size() / sizeof(float)) / rows;
    std::fill_n(values, rows * cols, 1.0F);
    if (row_begin <= 3 && 3 < row_begin + rows)
      values[(3 - row_begin) * cols + 5] = std::numeric_limits<float>::quiet_NaN();
  }
  std::string description() const override { return "broken"; }
};

TEST(Int8, AWeightThatIsNoNumberIsRefused) {
  std::vector<std::byte> out(5 * 8);
  try {
    fill_int8(Broken(), 2, 5, 8, 4, out);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("row 3"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace tidemark
