// RG-LRU (arXiv 2402.19427, section 2.4), fused with its two sigmoids. A task is 64 channels of one
// sequence through time, channels along the lanes, the state in L1. Limit: four exps per element;
// decode is bound by memory.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rg_lru.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include <algorithm>

#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

template <class T>
void channels(const RgLru& op, const CpuContext& context, int64_t sequence, int64_t first) {
  const int64_t rows = op.batch * op.length, row = sequence * op.length;
  const int64_t count = std::min<int64_t>(64, op.width - first);
  const auto at = [&](const Operand& operand) {
    return context.pointer<T>(operand, rows, op.width) + row * operand.stride + first;
  };
  const T* x = at(op.x);
  const T* input = at(op.input_gate);
  const T* recurrent = at(op.recurrent_gate);
  T* out = at(op.out);
  const T* param = context.block<T>(op.param, op.width) + first;
  float* state = context.block<float>(op.state, op.batch * op.width) + sequence * op.width + first;
  for (int64_t i = 0; i < count; i += lanes) {
    const int64_t left = count - i;
    const Vec slope = hn::Mul(all(-8.0F), softplus(load_row(param + i, left)));
    Vec h = op.past > 0 ? load_row(state + i, left) : hn::Zero(floats);
    for (int64_t t = 0; t < op.length; ++t) {
      const Vec gated = hn::Mul(sigmoid(load_row(input + t * op.input_gate.stride + i, left)),
                                load_row(x + t * op.x.stride + i, left));
      const Vec log_a =
          hn::Mul(slope, sigmoid(load_row(recurrent + t * op.recurrent_gate.stride + i, left)));
      const Vec square = exp(hn::Add(log_a, log_a));
      const Vec root = op.past + t == 0 ? all(1.0F) : hn::Sqrt(hn::Sub(all(1.0F), square));
      h = hn::MulAdd(exp(log_a), h, hn::Mul(root, gated));
      store_row(h, out + t * op.out.stride + i, left);
    }
    store_row(h, state + i, left);
  }
}

void rg_lru(const RgLru& op, const CpuContext& context, int64_t sequence, int64_t first) {
  if (context.is_f32(op.x))
    channels<float>(op, context, sequence, first);
  else
    channels<Bf16>(op, context, sequence, first);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {
HWY_EXPORT(rg_lru);

void run(const RgLru& op, const CpuContext& context) {
  const int64_t blocks = divide_up(op.width, 64), grain = 1 + 32 / op.length;
  parallel_ranges(context.threads, op.batch * blocks, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t item = begin; item < end; ++item)
      HWY_DYNAMIC_DISPATCH(rg_lru)(op, context, item / blocks, item % blocks * 64);
  });
}

}  // namespace tidemark::cpu
#endif
