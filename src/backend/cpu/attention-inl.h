// What the attention kernels share: where a sequence's queries, keys and values lie, and which keys
// a position may see.
#if defined(TIDEMARK_ATTENTION_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_ATTENTION_INL_H
#undef TIDEMARK_ATTENTION_INL_H
#else
#define TIDEMARK_ATTENTION_INL_H
#endif

#include <algorithm>

#include "backend/cpu/attention.h"
#include "backend/cpu/context.h"
#include "backend/cpu/simd-inl.h"
#include "plan/ops.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {

// Stands for minus infinity, so that differences stay numbers: 2^(hidden - m) is 1e-38.
constexpr float hidden = -1e30F;

template <class T>
struct AttentionPointers {
  const T* q;
  const T* k;
  const T* v;
  const T* k_cache;
  const T* v_cache;
  T* out;
  int64_t k_stride, v_stride;
};

// Of one sequence and key/value head; q and out at the group's first head.
template <class T>
AttentionPointers<T> resolve(const Attention& op, const CpuContext& context, int64_t sequence,
                             int64_t kv_head) {
  const int64_t rows = op.batch * op.length, first = sequence * op.length;
  // With a window the keys of this step come from k.
  const int64_t slots = slots_in_use(op.batch * op.kv_heads, op.capacity,
                                     op.window > 0 ? op.past : op.past + op.length);
  const int64_t slot = (sequence * op.kv_heads + kv_head) * op.capacity;
  const int64_t head = kv_head * (op.heads / op.kv_heads);
  AttentionPointers<T> p{};
  p.q = context.pointer<T>(op.q, rows, op.heads * op.head_dim) + first * op.q.stride +
        head * op.head_dim;
  p.out = context.pointer<T>(op.out, rows, op.heads * op.value_dim) + first * op.out.stride +
          head * op.value_dim;
  p.k_cache = context.block<T>(op.k_cache, slots * op.head_dim) + slot * op.head_dim;
  p.v_cache = context.block<T>(op.v_cache, slots * op.value_dim) + slot * op.value_dim;
  if (op.window > 0) {
    p.k = context.pointer<T>(op.k, rows, op.kv_heads * op.head_dim) + first * op.k.stride +
          kv_head * op.head_dim;
    p.v = context.pointer<T>(op.v, rows, op.kv_heads * op.value_dim) + first * op.v.stride +
          kv_head * op.value_dim;
    p.k_stride = op.k.stride;
    p.v_stride = op.v.stride;
  }
  return p;
}

// Keys and values of positions [begin, begin + count) lying at a constant stride.
template <class T>
struct KeyRun {
  const T* k;
  const T* v;
  int64_t k_stride, v_stride, count;
};

template <class T>
KeyRun<T> run_of_keys(const Attention& op, const AttentionPointers<T>& p, int64_t begin,
                      int64_t most) {
  if (op.window > 0 && begin >= op.past) {
    const int64_t t = begin - op.past;
    return {p.k + t * p.k_stride, p.v + t * p.v_stride, p.k_stride, p.v_stride, most};
  }
  int64_t slot = begin, count = most;
  if (op.window > 0 && begin < op.sinks) {
    count = std::min({most, op.past - begin, op.sinks - begin});
  } else if (op.window > 0) {
    slot = op.sinks + (begin - op.sinks) % (op.capacity - op.sinks);
    count = std::min({most, op.past - begin, op.capacity - slot});
  }
  return {p.k_cache + slot * op.head_dim, p.v_cache + slot * op.value_dim, op.head_dim,
          op.value_dim, count};
}

inline int64_t first_key(const Attention& op, int64_t position) {
  return op.window > 0 ? std::max<int64_t>(0, position - op.window + 1) : 0;
}

// Hides keys [begin, begin + count) from the rows that may not see them: keys ahead, and unless
// they are sinks, keys behind the window. scores: [count][rows], whose row r is the tile's row0 +
// r; the tile's row r stands for position first + r / group.
inline void hide(const Attention& op, int64_t begin, int64_t count, int64_t first, int64_t group,
                 int64_t row0, int64_t rows, float* scores) {
  for (int64_t s = 0; s < count; ++s) {
    const int64_t key = begin + s;
    float* row = scores + s * rows;
    const int64_t blind = std::clamp<int64_t>((key - first) * group - row0, 0, rows);
    std::fill(row, row + blind, hidden);
    if (op.window > 0 && key >= op.sinks) {
      const int64_t gone = std::clamp<int64_t>((key + op.window - first) * group - row0, 0, rows);
      std::fill(row + gone, row + rows, hidden);
    }
  }
}

}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
