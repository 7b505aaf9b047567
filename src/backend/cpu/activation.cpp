// Activation: act(x). Bound by memory: one read, one write.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/activation.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/row_pieces.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

template <class T>
struct Row {
  const T* x;
  T* out;
  int64_t count;
  template <Act act>
  void run() const {
    for (int64_t i = 0; i < count; i += lanes)
      store_row(activate<act, T>(load_row(x + i, count - i)), out + i, count - i);
  }
};

// Elements [begin, end) of the rows laid end to end.
template <class T>
void elements(const Activation& op, const CpuContext& context, int64_t begin, int64_t end) {
  const T* x = context.pointer<T>(op.x, op.rows, op.width);
  T* out = context.pointer<T>(op.out, op.rows, op.width);
  for_row_pieces(begin, end, op.width, [&](int64_t row, int64_t col, int64_t count) {
    const Row<T> part{x + row * op.x.stride + col, out + row * op.out.stride + col, count};
    with_activation(op.act, part);
  });
}

void activation(const Activation& op, const CpuContext& context, int64_t begin, int64_t end) {
  if (context.is_f32(op.out))
    elements<float>(op, context, begin, end);
  else
    elements<Bf16>(op, context, begin, end);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {
HWY_EXPORT(activation);

void run(const Activation& op, const CpuContext& context) {
  parallel_ranges(context.threads, op.rows * op.width, 4096, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(activation)(op, context, begin, end);
  });
}

}  // namespace tidemark::cpu
#endif
