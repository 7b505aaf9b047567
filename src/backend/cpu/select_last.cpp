// SelectLast: the last row of every sequence. Bound by memory.
#include <cstring>

#include "backend/cpu/kernels.h"

namespace tidemark::cpu {
namespace {

template <class T>
void copy(const SelectLast& op, const CpuContext& context) {
  const T* x = context.pointer<T>(op.x, op.batch * op.length, op.width);
  T* out = context.pointer<T>(op.out, op.batch, op.width);
  for (int64_t b = 0; b < op.batch; ++b)
    std::memcpy(out + b * op.out.stride, x + ((b + 1) * op.length - 1) * op.x.stride,
                static_cast<size_t>(op.width) * sizeof(T));
}

}  // namespace

void run(const SelectLast& op, const CpuContext& context) {
  context.is_f32(op.x) ? copy<float>(op, context) : copy<Bf16>(op, context);
}

}  // namespace tidemark::cpu
