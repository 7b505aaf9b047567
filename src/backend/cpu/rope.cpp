// Rope (RoFormer, arXiv 2104.09864), halves convention, with the cache append of full attention
// fused. An angle p * inv_freq needs double at positions of 10^6, so cos and sin are taken once per
// thread in double and then turned by one position's angle per row: four multiplies per pair and an
// error of 1e-16 per row. Bound by memory: q and k read and written once.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rope.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

// cos and sin of all pairs at one position, kept in double and used in fp32.
struct Angles {
  double* cos;
  double* sin;
  double* step_cos;
  double* step_sin;
  float* cos32;
  float* sin32;
};

void start(const Rope& op, int64_t position, const Angles& angles) {
  for (int64_t j = 0; j < op.rotary_dim / 2; ++j) {
    const double step = op.inv_freq[static_cast<size_t>(j)];
    const double angle = static_cast<double>(position) * step;
    angles.cos[j] = std::cos(angle);
    angles.sin[j] = std::sin(angle);
    angles.step_cos[j] = std::cos(step);
    angles.step_sin[j] = std::sin(step);
  }
}

// Gives the position's cos and sin in fp32 and moves on to the next.
void advance(const Rope& op, const Angles& angles) {
  for (int64_t j = 0; j < op.rotary_dim / 2; ++j) {
    const double c = angles.cos[j], s = angles.sin[j];
    angles.cos32[j] = static_cast<float>(c) * op.amplitude;
    angles.sin32[j] = static_cast<float>(s) * op.amplitude;
    angles.cos[j] = c * angles.step_cos[j] - s * angles.step_sin[j];
    angles.sin[j] = s * angles.step_cos[j] + c * angles.step_sin[j];
  }
}

template <class T>
void rotate(const Rope& op, const Angles& angles, T* x) {
  const int64_t half = op.rotary_dim / 2;
  for (int64_t j = 0; j < half; j += lanes) {
    const int64_t left = half - j;
    const Vec c = load_row(angles.cos32 + j, left), s = load_row(angles.sin32 + j, left);
    const Vec first = load_row(x + j, left), second = load_row(x + half + j, left);
    store_row(hn::NegMulAdd(second, s, hn::Mul(first, c)), x + j, left);
    store_row(hn::MulAdd(first, s, hn::Mul(second, c)), x + half + j, left);
  }
}

template <class T>
void positions(const Rope& op, const CpuContext& context, int64_t begin, int64_t end,
               const Angles& angles) {
  const int64_t rows = op.batch * op.length;
  const int64_t slots = slots_in_use(op.batch * op.kv_heads, op.capacity, op.past + op.length);
  const int64_t k_heads = op.k ? op.kv_heads : 0;
  T* q = context.pointer<T>(op.q, rows, op.heads * op.head_dim);
  T* k = op.k ? context.pointer<T>(op.k, rows, op.kv_heads * op.head_dim) : nullptr;
  const bool append = static_cast<bool>(op.k_cache);
  const T* v = append ? context.pointer<T>(op.v, rows, op.kv_heads * op.value_dim) : nullptr;
  T* k_cache = append ? context.block<T>(op.k_cache, slots * op.head_dim) : nullptr;
  T* v_cache = append ? context.block<T>(op.v_cache, slots * op.value_dim) : nullptr;
  const auto k_bytes = static_cast<size_t>(op.head_dim) * sizeof(T);
  const auto v_bytes = static_cast<size_t>(op.value_dim) * sizeof(T);
  start(op, op.past + begin, angles);
  for (int64_t t = begin; t < end; ++t) {
    advance(op, angles);
    for (int64_t b = 0; b < op.batch; ++b) {
      const int64_t row = b * op.length + t;
      for (int64_t h = 0; h < op.heads; ++h)
        rotate(op, angles, q + row * op.q.stride + h * op.head_dim);
      for (int64_t h = 0; h < k_heads; ++h) {
        T* head = k + row * op.k.stride + h * op.head_dim;
        rotate(op, angles, head);
        if (!append) continue;
        const int64_t slot = (b * op.kv_heads + h) * op.capacity + op.past + t;
        std::memcpy(k_cache + slot * op.head_dim, head, k_bytes);
        std::memcpy(v_cache + slot * op.value_dim, v + row * op.v.stride + h * op.value_dim,
                    v_bytes);
      }
    }
  }
}

void rope(const Rope& op, const CpuContext& context, int64_t begin, int64_t end,
          std::byte* scratch) {
  const int64_t half = op.rotary_dim / 2;
  auto* wide = reinterpret_cast<double*>(scratch);
  auto* narrow = reinterpret_cast<float*>(wide + 4 * half);
  const Angles angles{wide, wide + half, wide + 2 * half, wide + 3 * half, narrow, narrow + half};
  if (context.is_f32(op.q))
    positions<float>(op, context, begin, end, angles);
  else
    positions<Bf16>(op, context, begin, end, angles);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {
HWY_EXPORT(rope);

namespace {
int64_t angle_bytes(const Rope& op) {
  return round_up(op.rotary_dim / 2 * 40, 64);
}
}  // namespace

int64_t workspace_bytes(const Rope& op, const CpuContext& context) {
  return context.threads * angle_bytes(op);
}

void run(const Rope& op, const CpuContext& context) {
  auto* scratch = context.workspace<std::byte>(workspace_bytes(op, context));
  parallel_ranges(context.threads, op.length, 4, [&](int64_t begin, int64_t end, int thread) {
    HWY_DYNAMIC_DISPATCH(rope)(op, context, begin, end, scratch + thread * angle_bytes(op));
  });
}

}  // namespace tidemark::cpu
#endif
