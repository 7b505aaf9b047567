// Argmax over the logits of the last position; the first of equal ones. Two passes: the largest
// value, then the first place that has it (from cache). Bound by memory.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/argmax.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

int32_t first_of_largest(const float* x, int64_t count) {
  Vec best = all(-HUGE_VALF);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) best = hn::Max(best, load(x + i));
  float largest = max(best);
  for (; i < count; ++i) largest = x[i] > largest ? x[i] : largest;
  for (i = 0; i < count; ++i)
    if (x[i] == largest) return static_cast<int32_t>(i);
  return 0;
}

void argmax(const Argmax& op, const CpuContext& context, int64_t begin, int64_t end) {
  Operand step = op.logits;
  step.offset += op.past * op.rows_per_past * op.logits.stride;
  const float* logits = context.pointer<float>(step, op.batch * op.rows_per_sequence, op.vocab);
  int32_t* ids = context.pointer<int32_t>(op.ids, op.batch, op.past + op.length + 1);
  for (int64_t b = begin; b < end; ++b) {
    const float* row = logits + ((b + 1) * op.rows_per_sequence - 1) * op.logits.stride;
    ids[b * op.ids.stride + op.past + op.length] = first_of_largest(row, op.vocab);
  }
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {
HWY_EXPORT(argmax);

void run(const Argmax& op, const CpuContext& context) {
  parallel_ranges(context.threads, op.batch, 1, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(argmax)(op, context, begin, end);
  });
}

}  // namespace tidemark::cpu
#endif
