// Scalar references of rotary positions, the KV cache and attention.
#pragma once

#include <algorithm>

#include "plan/reference/memory.h"
#include "plan/reference/number.h"

namespace tidemark::reference {

// Row of a [B, Hkv, capacity, P] cache that holds `position`.
inline int64_t cache_row(int64_t b, int64_t head, int64_t position, int64_t kv_heads,
                         int64_t capacity, int64_t sinks = 0) {
  const int64_t slot =
      position < sinks ? position : sinks + (position - sinks) % (capacity - sinks);
  return (b * kv_heads + head) * capacity + slot;
}

template <class T>
void run(const KvAppend& o, Memory<T>& m) {
  for (int64_t b = 0; b < o.batch; ++b)
    for (int64_t t = 0; t < o.length; ++t) {
      if (o.past + t >= o.sinks && t < o.length - (o.capacity - o.sinks)) continue;
      for (int64_t h = 0; h < o.kv_heads; ++h) {
        const int64_t row = cache_row(b, h, o.past + t, o.kv_heads, o.capacity, o.sinks);
        for (int64_t i = 0; i < o.head_dim; ++i)
          m.at(o.k_cache, row, i) = m.at(o.k, b * o.length + t, h * o.head_dim + i);
        for (int64_t i = 0; i < o.value_dim; ++i)
          m.at(o.v_cache, row, i) = m.at(o.v, b * o.length + t, h * o.value_dim + i);
      }
    }
}

template <class T>
void run(const Rope& o, Memory<T>& m) {
  const int64_t half = o.rotary_dim / 2;
  for (int64_t b = 0; b < o.batch; ++b)
    for (int64_t t = 0; t < o.length; ++t) {
      const int64_t row = b * o.length + t;
      for (int64_t j = 0; j < half; ++j) {
        const T angle = T(static_cast<double>(o.past + t)) *
                        T(static_cast<double>(o.inv_freq[static_cast<size_t>(j)]));
        T c = cos_of(angle), s = sin_of(angle);
        if (o.amplitude != 1.0F) c = c * T(o.amplitude), s = s * T(o.amplitude);
        auto rotate = [&](const Operand& x, int64_t heads) {
          for (int64_t h = 0; h < heads; ++h) {
            T& x1 = m.at(x, row, h * o.head_dim + j);
            T& x2 = m.at(x, row, h * o.head_dim + half + j);
            const T y1 = x1 * c - x2 * s, y2 = x2 * c + x1 * s;
            x1 = y1, x2 = y2;
          }
        };
        rotate(o.q, o.heads);
        if (o.k) rotate(o.k, o.kv_heads);
      }
    }
  if (o.k_cache)
    run(KvAppend{o.k, o.v, o.k_cache, o.v_cache, o.batch, o.length, o.past, o.kv_heads, o.head_dim,
                 o.value_dim, o.capacity},
        m);
}

template <class T>
void run(const Attention& o, Memory<T>& m) {
  const int64_t per_kv = o.heads / o.kv_heads;
  std::vector<int64_t> seen;
  std::vector<T> score;
  for (int64_t b = 0; b < o.batch; ++b)
    for (int64_t h = 0; h < o.heads; ++h)
      for (int64_t t = 0; t < o.length; ++t) {
        const int64_t kv = h / per_kv, here = o.past + t, row = b * o.length + t;
        const int64_t first = o.window == 0 ? 0 : std::max<int64_t>(0, here - o.window + 1);
        seen.clear();
        for (int64_t p = 0; p < std::min(first, o.sinks); ++p) seen.push_back(p);
        for (int64_t p = first; p <= here; ++p) seen.push_back(p);
        auto key = [&](int64_t p, int64_t i) {
          return o.window != 0 && p >= o.past
                     ? m.at(o.k, b * o.length + p - o.past, kv * o.head_dim + i)
                     : m.at(o.k_cache, cache_row(b, kv, p, o.kv_heads, o.capacity, o.sinks), i);
        };
        auto value = [&](int64_t p, int64_t i) {
          return o.window != 0 && p >= o.past
                     ? m.at(o.v, b * o.length + p - o.past, kv * o.value_dim + i)
                     : m.at(o.v_cache, cache_row(b, kv, p, o.kv_heads, o.capacity, o.sinks), i);
        };
        score.assign(seen.size(), T(0));
        T peak(-1e300);
        for (size_t s = 0; s < seen.size(); ++s) {
          T sum(0);
          for (int64_t i = 0; i < o.head_dim; ++i)
            sum += m.at(o.q, row, h * o.head_dim + i) * key(seen[s], i);
          score[s] = sum * T(o.scale);
          peak = max_of(peak, score[s]);
        }
        T total(0);
        for (T& s : score) {
          s = exp_of(s - peak);
          total += s;
        }
        for (int64_t i = 0; i < o.value_dim; ++i) {
          T sum(0);
          for (size_t s = 0; s < seen.size(); ++s) sum += score[s] * value(seen[s], i);
          m.at(o.out, row, h * o.value_dim + i) = sum / total;
        }
      }
}

}  // namespace tidemark::reference
