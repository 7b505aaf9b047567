// Embedding: one row of the table (f32, bf16, or i8 with a scale) per token, scaled, plus the row
// of its position when positions are learned. Bound by memory: table row in, row out.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/embedding.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/int8-inl.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/packed_weight.h"
#include "backend/cpu/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

HWY_INLINE Vec load_weights(const float* from, int64_t count) {
  return load_row(from, count);
}
HWY_INLINE Vec load_weights(const Bf16* from, int64_t count) {
  return load_row(from, count);
}
HWY_INLINE Vec load_weights(const int8_t* from, int64_t count) {
  return load_int8_row(from, count);
}

// A vector of columns from i of a row of the table, as it lies or, of a packed one (a tied head's),
// from where they are.
template <class Table>
HWY_INLINE Vec load_columns(const Embedding& op, bool packed, const Table* table, int64_t id,
                            int64_t i) {
  const int64_t left = op.width - i;
  if constexpr (!std::is_same_v<Table, float>)
    if (packed) {
      Table some[lanes] = {};
      unpack(table, id * op.width + i, std::min(left, lanes), op.vocab, op.width, some);
      return load_weights(some, lanes);
    }
  return load_weights(table + id * op.table.stride + i, left);
}

template <class T, class Table>
void rows(const Embedding& op, const CpuContext& context, int64_t begin, int64_t end) {
  const int32_t* ids = context.pointer<int32_t>(op.ids, op.batch, op.past + op.length);
  const Table* table = context.pointer<Table>(op.table, op.vocab, op.width);
  const int64_t groups = op.scales ? divide_up(op.width, op.group) : 0;
  const Bf16* scales = op.scales ? context.pointer<Bf16>(op.scales, op.vocab, groups) : nullptr;
  const bool packed = (*context.packed)[static_cast<size_t>(op.table.tensor)];
  T* out = context.pointer<T>(op.out, op.batch * op.length, op.width);
  const T* positions =
      op.positions ? context.pointer<T>(op.positions, op.past + op.length, op.width) : nullptr;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / op.length, t = row % op.length;
    const int64_t id = ids[b * op.ids.stride + op.past + t];
    if (id < 0 || id >= op.vocab)
      fail("token {} of sequence {}: id {} is outside the vocabulary of {}", op.past + t, b, id,
           op.vocab);
    T* to = out + row * op.out.stride;
    const Bf16* scale_of = scales ? scales + id * op.scales.stride : nullptr;
    const T* position = positions ? positions + (op.past + t) * op.positions.stride : nullptr;
    for (int64_t i = 0; i < op.width; i += lanes) {
      // A vector lies within a group of 8-bit weights: those are of 32, or the row.
      const float scale = scale_of ? static_cast<float>(scale_of[i / op.group]) : 1;
      Vec x = hn::Mul(load_columns(op, packed, table, id, i), all(scale * op.scale));
      if (position) x = hn::Add(x, load_row(position + i, op.width - i));
      store_row(x, to + i, op.width - i);
    }
  }
}

void embedding(const Embedding& op, const CpuContext& context, int64_t begin, int64_t end) {
  if (op.scales)
    rows<Bf16, int8_t>(op, context, begin, end);
  else if (context.is_f32(op.out))
    rows<float, float>(op, context, begin, end);
  else
    rows<Bf16, Bf16>(op, context, begin, end);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {
HWY_EXPORT(embedding);

void run(const Embedding& op, const CpuContext& context) {
  parallel_ranges(context.threads, op.batch * op.length, 8, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(embedding)(op, context, begin, end);
  });
}

}  // namespace tidemark::cpu
#endif
