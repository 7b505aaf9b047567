// Products of a few rows (decode) with a packed weight of 8 bits (packed_weight.h) and activations
// of 8 bits: streams as gemm_packed.cpp does. A load brings four weights of each of `lanes`
// outputs, which become two pairs of 16 bits; pairs of x are broadcast, and products of pairs add
// up to 32 bits. Limit: bytes of the weight.
#include <algorithm>

#include "backend/cpu/gemm.h"
#include "backend/cpu/int8.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/int8_packed.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/packed_weight.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

using Sums = hn::Vec<IntTag>;

// Of each four values of x the first and third, then the second and fourth, as the weights' pairs
// are taken.
void pair_x(int16_t* x, int64_t k) {
  for (int64_t i = 0; i < k; i += 4) std::swap(x[i + 1], x[i + 2]);
}

// total + four weights of each output times four values of x.
HWY_INLINE Sums add_products(Sums total, hn::Vec<WordTag> weights, const int16_t* x) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR
  const hn::Repartition<int16_t, WordTag> shorts;
  const auto pair = [](const int16_t* from) {
    uint32_t both = 0;
    std::memcpy(&both, from, sizeof(both));
    return hn::BitCast(hn::Repartition<int16_t, WordTag>(), hn::Set(WordTag(), both));
  };
  const auto w = hn::BitCast(shorts, weights);
  Sums unused = hn::Zero(IntTag());
  total = hn::ReorderWidenMulAccumulate(IntTag(), hn::ShiftRight<8>(hn::ShiftLeft<8>(w)), pair(x),
                                        total, unused);
  return hn::ReorderWidenMulAccumulate(IntTag(), hn::ShiftRight<8>(w), pair(x + 2), total, unused);
#else  // Elsewhere pairs do not stay in their lane; there is no unit there, but in tests.
  const Sums w = hn::BitCast(IntTag(), weights);
  const auto times = [](Sums bytes, int16_t value) {
    return hn::Mul(hn::ShiftRight<24>(bytes), hn::Set(IntTag(), value));
  };
  total = hn::Add(total, times(hn::ShiftLeft<24>(w), x[0]));
  total = hn::Add(total, times(hn::ShiftLeft<16>(w), x[2]));
  total = hn::Add(total, times(hn::ShiftLeft<8>(w), x[1]));
  return hn::Add(total, times(w, x[3]));
#endif
}

// Groups of 16 outputs from j of m rows of x.
template <int m, int groups>
HWY_INLINE void outputs(const Int8Product& p, const RoundedX& rounded, int64_t j) {
  constexpr int of_group = packed_rows / static_cast<int>(lanes), vectors = groups * of_group;
  const auto* weight = reinterpret_cast<const uint32_t*>(p.weight + j * p.k);
  const int64_t group = packed_rows * p.k / 4;
  Sums total[m][vectors];
#pragma GCC unroll 8
  for (int i = 0; i < m; ++i)
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) total[i][v] = hn::Zero(IntTag());
  for (int64_t k = 0; k < p.k; k += 4, weight += packed_rows) {
    prefetch_groups<groups>(weight, k / 4 * packed_rows, group);
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      const auto words = hn::LoadU(WordTag(), weight + v / of_group * group + v % of_group * lanes);
#pragma GCC unroll 8
      for (int i = 0; i < m; ++i)
        total[i][v] = add_products(total[i][v], words, rounded.x + i * rounded.stride + k);
    }
  }
  alignas(64) int32_t sums[m][groups * packed_rows];
  for (int i = 0; i < m; ++i)
    for (int v = 0; v < vectors; ++v) hn::StoreU(total[i][v], IntTag(), sums[i] + v * lanes);
  finish(p, {sums, true, groups * packed_rows, j, groups * packed_rows, rounded.row_scales}, m);
}

// Output j, whose row of the weight lies as it is.
void row_output(const Int8Product& p, const RoundedX& rounded, int64_t j) {
  int32_t sums[skinny_rows][vector_floats] = {};  // of which whole vectors are read
  const int8_t* weight = p.weight + j * p.k;
  for (int64_t i = 0; i < p.m; ++i)
    for (int64_t k = 0; k < p.k; k += 4) {
      const int16_t* x = rounded.x + i * rounded.stride + k;
      sums[i][0] +=
          weight[k] * x[0] + weight[k + 2] * x[1] + weight[k + 1] * x[2] + weight[k + 3] * x[3];
    }
  finish(p, {sums, true, vector_floats, j, 1, rounded.row_scales}, p.m);
}

// Outputs [begin, end).
template <int m>
void range(const Int8Product& p, const RoundedX& rounded, int64_t begin, int64_t end) {
  // Whose sums stay in registers, of which there are many where a vector has 16 lanes.
  constexpr int groups = lanes < 16 ? 1 : m > 4 ? 2 : 4;
  int64_t j = begin;
  const int64_t grouped = std::min(end, rows_in_groups(p.n));
  for (; j + groups * packed_rows <= grouped; j += groups * packed_rows)
    outputs<m, groups>(p, rounded, j);
  for (; j < grouped; j += packed_rows) outputs<m, 1>(p, rounded, j);
  for (; j < end; ++j) row_output(p, rounded, j);
}

void packed(const Int8Product& p, const RoundedX& rounded, int64_t begin, int64_t end) {
  with_row_count(p.m, [&](auto rows) { range<rows.value>(p, rounded, begin, end); });
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {

HWY_EXPORT(pair_x);
HWY_EXPORT(packed);

void run_int8_packed(const Int8Product& p, int threads, std::byte* scratch) {
  const RoundedX rounded = round_few_rows(p, scratch);
  for (int64_t i = 0; i < p.m; ++i)
    HWY_DYNAMIC_DISPATCH(pair_x)(rounded.x + i * rounded.stride, p.k);
  // Shares of whole groups; a few thousand weights are not worth waking a team.
  parallel_ranges(threads, divide_up(p.n, packed_rows), 1 + 1024 / p.k,
                  [&](int64_t begin, int64_t end, int) {
                    HWY_DYNAMIC_DISPATCH(packed)
                    (p, rounded, packed_rows * begin, std::min(packed_rows * end, p.n));
                  });
}

}  // namespace tidemark::cpu
#endif
