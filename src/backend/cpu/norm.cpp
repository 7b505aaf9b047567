// Norm: RMS or layer normalisation of `groups` vectors per row, in place or not.
// Two passes over a vector that stays in L1: sums (layer: mean first, then squared differences),
// then scale. Bound by memory: one read, one write.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/norm.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

template <class T>
void vectors(const Norm& op, const CpuContext& context, int64_t begin, int64_t end) {
  const int64_t width = op.width;
  const T* x = context.pointer<T>(op.x, op.rows, op.groups * width);
  const T* weight = op.weight ? context.block<T>(op.weight, width) : nullptr;
  const T* bias = op.bias ? context.block<T>(op.bias, width) : nullptr;
  T* out = context.pointer<T>(op.out, op.rows, op.groups * width);
  for (int64_t vector = begin; vector < end; ++vector) {
    const int64_t row = vector / op.groups, first = vector % op.groups * width;
    const T* from = x + row * op.x.stride + first;
    T* to = out + row * op.out.stride + first;
    float mean = 0;
    if (op.kind == NormKind::layer) {
      Vec total = hn::Zero(floats);
      for (int64_t i = 0; i < width; i += lanes)
        total = hn::Add(total, load_row(from + i, width - i));
      mean = sum(total) / static_cast<float>(width);
    }
    Vec squares = hn::Zero(floats), more = hn::Zero(floats);
    int64_t i = 0;
    for (; i + 2 * lanes <= width; i += 2 * lanes) {
      const Vec a = hn::Sub(load(from + i), all(mean));
      const Vec b = hn::Sub(load(from + i + lanes), all(mean));
      squares = hn::MulAdd(a, a, squares);
      more = hn::MulAdd(b, b, more);
    }
    float total = sum(hn::Add(squares, more));
    for (; i < width; ++i) {
      const float a = static_cast<float>(from[i]) - mean;
      total += a * a;
    }
    const float scale = 1.0F / std::sqrt(total / static_cast<float>(width) + op.eps);
    for (i = 0; i < width; i += lanes) {
      const Vec centred = hn::Sub(load_row(from + i, width - i), all(mean));
      Vec y = hn::Mul(centred, all(scale));
      if (weight) y = hn::Mul(y, hn::Add(load_row(weight + i, width - i), all(op.weight_offset)));
      if (bias) y = hn::Add(y, load_row(bias + i, width - i));
      store_row(y, to + i, width - i);
    }
  }
}

void norm(const Norm& op, const CpuContext& context, int64_t begin, int64_t end) {
  if (context.is_f32(op.x))
    vectors<float>(op, context, begin, end);
  else
    vectors<Bf16>(op, context, begin, end);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {
HWY_EXPORT(norm);

void run(const Norm& op, const CpuContext& context) {
  const int64_t grain = 1 + 8192 / op.width;
  parallel_ranges(context.threads, op.rows * op.groups, grain,
                  [&](int64_t begin, int64_t end, int) {
                    HWY_DYNAMIC_DISPATCH(norm)(op, context, begin, end);
                  });
}

}  // namespace tidemark::cpu
#endif
