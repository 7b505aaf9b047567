// RowGate: a row times the activation of its one gate. Bound by memory.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/row_gate.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

struct One {
  float x;
  float* out;
  template <Act act>
  void run() const {
    *out = hn::GetLane(activate<act, float>(all(x)));
  }
};

template <class T>
void rows(const RowGate& op, const CpuContext& context, int64_t begin, int64_t end) {
  const T* gates = context.pointer<T>(op.gate, op.rows, 1);
  const T* x = context.pointer<T>(op.x, op.rows, op.width);
  T* out = context.pointer<T>(op.out, op.rows, op.width);
  for (int64_t row = begin; row < end; ++row) {
    float gate = 0;
    with_activation(op.act, One{static_cast<float>(gates[row * op.gate.stride]), &gate});
    const T* from = x + row * op.x.stride;
    T* to = out + row * op.out.stride;
    for (int64_t i = 0; i < op.width; i += lanes)
      store_row(hn::Mul(load_row(from + i, op.width - i), all(gate)), to + i, op.width - i);
  }
}

void row_gate(const RowGate& op, const CpuContext& context, int64_t begin, int64_t end) {
  if (context.is_f32(op.out))
    rows<float>(op, context, begin, end);
  else
    rows<Bf16>(op, context, begin, end);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {
HWY_EXPORT(row_gate);

void run(const RowGate& op, const CpuContext& context) {
  parallel_ranges(context.threads, op.rows, 1 + 8192 / op.width,
                  [&](int64_t begin, int64_t end, int) {
                    HWY_DYNAMIC_DISPATCH(row_gate)(op, context, begin, end);
                  });
}

}  // namespace tidemark::cpu
#endif
