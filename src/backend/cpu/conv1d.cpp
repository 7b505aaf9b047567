// Conv1d: depthwise causal convolution of Mamba (arXiv 2312.00752, section 3.4) with carried state.
// A task is 64 channels of one sequence: the last K inputs of each stay in an L1 ring, the weights
// are turned to [K][64], and each row is read once and written once. Bound by memory.
#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/conv1d.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

constexpr int64_t block_channels = 64;

// scratch: ring [K][64], weights [K][64], bias [64].
template <class T>
void channel_block(const Conv1d& op, const CpuContext& context, int64_t b, int64_t first,
                   float* scratch) {
  const int64_t width = op.width, channels = std::min(block_channels, op.channels - first);
  const T* x = context.pointer<T>(op.x, op.batch * op.length, op.channels) +
               b * op.length * op.x.stride + first;
  T* out = context.pointer<T>(op.out, op.batch * op.length, op.channels) +
           b * op.length * op.out.stride + first;
  const T* weight = context.block<T>(op.weight, op.channels * width) + first * width;
  T* state = context.block<T>(op.state, op.batch * op.channels * (width - 1)) +
             (b * op.channels + first) * (width - 1);
  float* ring = scratch;
  float* weights = ring + width * block_channels;
  float* bias = weights + width * block_channels;
  std::memset(scratch, 0, static_cast<size_t>((2 * width + 1) * block_channels) * sizeof(float));
  if (op.bias) unpack_row(context.block<T>(op.bias, op.channels) + first, channels, bias);
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t k = 0; k < width; ++k)
      weights[k * block_channels + c] = static_cast<float>(weight[c * width + k]);
    for (int64_t k = 0; op.past > 0 && k < width - 1; ++k)
      ring[k * block_channels + c] = static_cast<float>(state[c * (width - 1) + k]);
  }
  // Ring slot of the newest input; the oldest of the K follows it.
  int64_t slot = width - 1;
  for (int64_t t = 0; t < op.length; ++t) {
    unpack_row(x + t * op.x.stride, channels, ring + slot * block_channels);
    for (int64_t c = 0; c < channels; c += lanes) {
      Vec y = load(bias + c);
      int64_t from = slot + 1 == width ? 0 : slot + 1;
      for (int64_t k = 0; k < width; ++k) {
        y = hn::MulAdd(load(ring + from * block_channels + c),
                       load(weights + k * block_channels + c), y);
        from = from + 1 == width ? 0 : from + 1;
      }
      store_row(op.silu ? silu(y) : y, out + t * op.out.stride + c, channels - c);
    }
    slot = slot + 1 == width ? 0 : slot + 1;
  }
  // `slot` now holds the oldest, which the state drops.
  for (int64_t k = 0; k < width - 1; ++k)
    for (int64_t c = 0; c < channels; ++c)
      state[c * (width - 1) + k] =
          static_cast<T>(ring[(slot + 1 + k) % width * block_channels + c]);
}

void conv1d(const Conv1d& op, const CpuContext& context, int64_t item, float* scratch) {
  const int64_t blocks = divide_up(op.channels, block_channels);
  const int64_t b = item / blocks, first = item % blocks * block_channels;
  if (context.is_f32(op.x))
    channel_block<float>(op, context, b, first, scratch);
  else
    channel_block<Bf16>(op, context, b, first, scratch);
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {
HWY_EXPORT(conv1d);

namespace {
int64_t scratch_floats(const Conv1d& op) {
  return (2 * op.width + 1) * 64;
}
}  // namespace

int64_t workspace_bytes(const Conv1d& op, const CpuContext& context) {
  return context.threads * scratch_floats(op) * 4;
}

void run(const Conv1d& op, const CpuContext& context) {
  auto* scratch = context.workspace<float>(workspace_bytes(op, context));
  const int64_t items = op.batch * divide_up(op.channels, 64);
  const int64_t grain = 1 + 512 / op.length;
  parallel_ranges(context.threads, items, grain, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t item = begin; item < end; ++item)
      HWY_DYNAMIC_DISPATCH(conv1d)(op, context, item, scratch + thread * scratch_floats(op));
  });
}

}  // namespace tidemark::cpu
#endif
