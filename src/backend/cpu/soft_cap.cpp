// SoftCap: cap * tanh(x / cap) in place on fp32 logits. One exp and one division per element.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/soft_cap.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include <algorithm>

#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

// Elements [begin, end) of the rows laid end to end.
void soft_cap(const SoftCap& op, const CpuContext& context, int64_t begin, int64_t end) {
  Operand step = op.x;
  step.offset += op.past * op.out_per_past;
  float* x = context.pointer<float>(step, op.rows, op.width);
  const Vec cap = all(op.cap), inverse = all(1.0F / op.cap);
  while (begin < end) {
    const int64_t row = begin / op.width, col = begin % op.width;
    const int64_t count = std::min(op.width - col, end - begin);
    float* at = x + row * op.x.stride + col;
    for (int64_t i = 0; i < count; i += lanes)
      store_row(hn::Mul(cap, tanh(hn::Mul(load_row(at + i, count - i), inverse))), at + i,
                count - i);
    begin += count;
  }
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {
HWY_EXPORT(soft_cap);

void run(const SoftCap& op, const CpuContext& context) {
  parallel_ranges(context.threads, op.rows * op.width, 4096, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(soft_cap)(op, context, begin, end);
  });
}

}  // namespace tidemark::cpu
#endif
