// Gated RMS norm of Mamba-2 (arXiv 2405.21060, section 7) over `groups` vectors of `width`.
// First pass: the vector (times silu(z) when the gate comes first) to scratch, with its squares;
// second pass: scale, weight (and the gate when it comes last). Bound by memory: two reads, one
// write; one exp and one division per element are close behind.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/gated_norm.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

template <class T>
void vectors(const GatedNorm& op, const CpuContext& context, int64_t begin, int64_t end,
             float* scratch) {
  const int64_t width = op.width;
  const T* x = context.pointer<T>(op.x, op.rows, op.groups * width);
  const T* z = context.pointer<T>(op.z, op.rows, op.groups * width);
  const T* weight = context.block<T>(op.weight, op.shared_weight ? width : op.groups * width);
  T* out = context.pointer<T>(op.out, op.rows, op.groups * width);
  for (int64_t vector = begin; vector < end; ++vector) {
    const int64_t row = vector / op.groups, first = vector % op.groups * width;
    const T* from = x + row * op.x.stride + first;
    const T* gate = z + row * op.z.stride + first;
    T* to = out + row * op.out.stride + first;
    const T* factor = op.shared_weight ? weight : weight + first;
    Vec squares = hn::Zero(floats);
    for (int64_t i = 0; i < width; i += lanes) {
      Vec v = load_row(from + i, width - i);
      if (!op.norm_before_gate) v = hn::Mul(v, silu_to<T>(load_row(gate + i, width - i)));
      squares = hn::MulAdd(v, v, squares);
      store(v, scratch + i);
    }
    const float scale = 1.0F / std::sqrt(sum(squares) / static_cast<float>(width) + op.eps);
    for (int64_t i = 0; i < width; i += lanes) {
      Vec y = hn::Mul(hn::Mul(load(scratch + i), all(scale)), load_row(factor + i, width - i));
      if (op.norm_before_gate) y = hn::Mul(y, silu_to<T>(load_row(gate + i, width - i)));
      store_row(y, to + i, width - i);
    }
  }
}

void gated_norm(const GatedNorm& op, const CpuContext& context, int64_t begin, int64_t end,
                float* scratch) {
  if (context.is_f32(op.x))
    vectors<float>(op, context, begin, end, scratch);
  else
    vectors<Bf16>(op, context, begin, end, scratch);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {
HWY_EXPORT(gated_norm);

namespace {
int64_t scratch_floats(const GatedNorm& op) {
  return round_up(op.width, vector_floats);
}
}  // namespace

int64_t workspace_bytes(const GatedNorm& op, const CpuContext& context) {
  return context.threads * scratch_floats(op) * 4;
}

void run(const GatedNorm& op, const CpuContext& context) {
  auto* scratch = context.workspace<float>(workspace_bytes(op, context));
  const int64_t grain = 1 + 2048 / op.width;
  parallel_ranges(context.threads, op.rows * op.groups, grain,
                  [&](int64_t begin, int64_t end, int thread) {
                    HWY_DYNAMIC_DISPATCH(gated_norm)
                    (op, context, begin, end, scratch + thread * scratch_floats(op));
                  });
}

}  // namespace tidemark::cpu
#endif
