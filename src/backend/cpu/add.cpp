// Add: x + y, or a copy of x. Bound by memory.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/add.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include <cstring>

#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/row_pieces.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

// Elements [begin, end) of the rows laid end to end.
template <class T>
void elements(const Add& op, const CpuContext& context, int64_t begin, int64_t end) {
  const T* x = context.pointer<T>(op.x, op.rows, op.width);
  const T* y = op.y ? context.pointer<T>(op.y, op.rows, op.width) : nullptr;
  T* out = context.pointer<T>(op.out, op.rows, op.width);
  for_row_pieces(begin, end, op.width, [&](int64_t row, int64_t col, int64_t count) {
    const T* from = x + row * op.x.stride + col;
    T* to = out + row * op.out.stride + col;
    if (y) {
      const T* other = y + row * op.y.stride + col;
      for (int64_t i = 0; i < count; i += lanes)
        store_row(hn::Add(load_row(from + i, count - i), load_row(other + i, count - i)), to + i,
                  count - i);
    } else {
      std::memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
    }
  });
}

void add(const Add& op, const CpuContext& context, int64_t begin, int64_t end) {
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
HWY_EXPORT(add);

void run(const Add& op, const CpuContext& context) {
  parallel_ranges(context.threads, op.rows * op.width, 8192, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(add)(op, context, begin, end);
  });
}

}  // namespace tidemark::cpu
#endif
