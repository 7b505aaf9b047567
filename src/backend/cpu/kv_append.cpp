// KvAppend: keys and values of this step into the cache; the first `sinks` positions have slots of
// their own, behind them lies the ring. Of a step longer than the ring only the rows that stay are
// written. Bound by memory.
#include <algorithm>
#include <cstring>

#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"

namespace tidemark::cpu {
namespace {

template <class T>
void rows(const KvAppend& op, const CpuContext& context, int64_t begin, int64_t end) {
  const int64_t slots = slots_in_use(op.batch * op.kv_heads, op.capacity, op.past + op.length);
  const T* k = context.pointer<T>(op.k, op.batch * op.length, op.kv_heads * op.head_dim);
  const T* v = context.pointer<T>(op.v, op.batch * op.length, op.kv_heads * op.value_dim);
  T* k_cache = context.block<T>(op.k_cache, slots * op.head_dim);
  T* v_cache = context.block<T>(op.v_cache, slots * op.value_dim);
  const int64_t ring = op.capacity - op.sinks;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / op.length, t = row % op.length, position = op.past + t;
    if (position >= op.sinks && t < op.length - ring) continue;
    const int64_t slot = position < op.sinks ? position : op.sinks + (position - op.sinks) % ring;
    for (int64_t h = 0; h < op.kv_heads; ++h) {
      const int64_t to = (b * op.kv_heads + h) * op.capacity + slot;
      std::memcpy(k_cache + to * op.head_dim, k + row * op.k.stride + h * op.head_dim,
                  static_cast<size_t>(op.head_dim) * sizeof(T));
      std::memcpy(v_cache + to * op.value_dim, v + row * op.v.stride + h * op.value_dim,
                  static_cast<size_t>(op.value_dim) * sizeof(T));
    }
  }
}

}  // namespace

void run(const KvAppend& op, const CpuContext& context) {
  parallel_ranges(context.threads, op.batch * op.length, 16, [&](int64_t begin, int64_t end, int) {
    if (context.is_f32(op.k))
      rows<float>(op, context, begin, end);
    else
      rows<Bf16>(op, context, begin, end);
  });
}

}  // namespace tidemark::cpu
