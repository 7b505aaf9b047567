// Scalar references of everything but attention and the state-space operators.
#pragma once

#include <algorithm>

#include "plan/reference/memory.h"
#include "plan/reference/number.h"

namespace tidemark::reference {

template <class T>
void run(const Embedding& o, Memory<T>& m) {
  for (int64_t b = 0; b < o.batch; ++b)
    for (int64_t t = 0; t < o.length; ++t) {
      const int32_t id = m.ids[static_cast<size_t>(o.ids.offset + b * o.ids.stride + o.past + t)];
      for (int64_t i = 0; i < o.width; ++i) {
        T x = m.at(o.table, id, i);
        if (o.scales) x = x * m.at(o.scales, id, i / o.group);
        if (o.scale != 1.0F) x = x * T(o.scale);
        if (o.positions) x += m.at(o.positions, o.past + t, i);
        m.at(o.out, b * o.length + t, i) = x;
      }
    }
}

template <class T>
void run(const Add& o, Memory<T>& m) {
  for (int64_t r = 0; r < o.rows; ++r)
    for (int64_t i = 0; i < o.width; ++i)
      m.at(o.out, r, i) = o.y ? m.at(o.x, r, i) + m.at(o.y, r, i) : m.at(o.x, r, i);
}

template <class T>
void run(const Norm& o, Memory<T>& m) {
  for (int64_t r = 0; r < o.rows; ++r)
    for (int64_t g = 0; g < o.groups; ++g) {
      const int64_t from = g * o.width;
      T mean(0), square(0);
      if (o.kind == NormKind::layer) {
        for (int64_t i = 0; i < o.width; ++i) mean += m.at(o.x, r, from + i);
        mean = mean / T(static_cast<double>(o.width));
        for (int64_t i = 0; i < o.width; ++i) {
          const T d = m.at(o.x, r, from + i) - mean;
          square += d * d;
        }
      } else {
        for (int64_t i = 0; i < o.width; ++i)
          square += m.at(o.x, r, from + i) * m.at(o.x, r, from + i);
      }
      const T inverse = T(1) / sqrt_of(square / T(static_cast<double>(o.width)) + T(o.eps));
      for (int64_t i = 0; i < o.width; ++i) {
        const T x = m.at(o.x, r, from + i);
        T& out = m.at(o.out, r, from + i);
        if (!o.weight) {
          out = x * inverse;
          continue;
        }
        const T w = m.at(o.weight, i, 0);
        if (o.kind == NormKind::layer)
          out = (x - mean) * inverse * w + m.at(o.bias, i, 0);
        else
          out = x * inverse * (o.weight_offset == 0.0F ? w : T(o.weight_offset) + w);
      }
    }
}

template <class T>
void run(const GatedNorm& o, Memory<T>& m) {
  std::vector<T> y(static_cast<size_t>(o.width));
  for (int64_t r = 0; r < o.rows; ++r)
    for (int64_t g = 0; g < o.groups; ++g) {
      const int64_t from = g * o.width;
      T square(0);
      for (int64_t i = 0; i < o.width; ++i) {
        T x = m.at(o.x, r, from + i);
        if (!o.norm_before_gate) x = x * act_of(Act::silu, m.at(o.z, r, from + i));
        y[static_cast<size_t>(i)] = x;
        square += x * x;
      }
      const T inverse = T(1) / sqrt_of(square / T(static_cast<double>(o.width)) + T(o.eps));
      for (int64_t i = 0; i < o.width; ++i) {
        T x = y[static_cast<size_t>(i)] * inverse *
              m.at(o.weight, (o.shared_weight ? 0 : from) + i, 0);
        if (o.norm_before_gate) x = x * act_of(Act::silu, m.at(o.z, r, from + i));
        m.at(o.out, r, from + i) = x;
      }
    }
}

// A row of activations as a product reads it: as it is, or rounded to 8 bits with a scale.
template <class T>
struct ProductRow {
  std::vector<T> x;
  T scale = T(1);
};

template <class T>
ProductRow<T> product_row(const Operand& x, int64_t row, int64_t width, bool int8, Memory<T>& m) {
  ProductRow<T> out;
  for (int64_t k = 0; k < width; ++k) out.x.push_back(m.at(x, row, k));
  if (!int8) return out;
  T most(0);
  for (const T& v : out.x) most = max_of(most, abs_of(v));
  out.scale = fp32_of(most / T(127));
  const T inverse = fp32_of(T(127) / most);
  const bool rounded = greater(most, T(least_int8_row));
  for (T& v : out.x) {
    const T scaled = fp32_of(v * inverse);
    v = rounded ? nearest_of(scaled) : T(0);
  }
  return out;
}

// With row j of the weight, group by group where it has 8 bits.
template <class T>
T dot(const ProductRow<T>& row, const auto& o, int64_t j, int64_t width, Memory<T>& m) {
  T total(0);
  const int64_t group = o.scales ? o.group : width;
  for (int64_t first = 0; first < width; first += group) {
    T sum(0);
    for (int64_t k = first; k < std::min(first + group, width); ++k)
      sum += row.x[static_cast<size_t>(k)] * m.at(o.weight, j, k);
    if (!o.scales) return sum;
    total += sum * m.at(o.scales, j, first / group);
  }
  return o.int8_x ? total * row.scale : total;
}

template <class T>
void run(const Gemm& o, Memory<T>& m) {
  Operand out = o.out;
  out.offset += o.past * o.out_per_past;
  for (int64_t i = 0; i < o.m; ++i) {
    const ProductRow<T> row = product_row(o.x, i, o.k, o.int8_x, m);
    for (int64_t j = 0; j < o.n; ++j) {
      T sum = dot(row, o, j, o.k, m);
      if (o.bias) sum += m.at(o.bias, j, 0);
      if (o.scale != 1.0F) sum = sum * T(o.scale);
      if (o.accumulate) sum += m.at(out, i, j);
      m.at(out, i, j) = sum;
    }
  }
}

template <class T>
void run(const BlockGemm& o, Memory<T>& m) {
  for (int64_t r = 0; r < o.m; ++r)
    for (int64_t g = 0; g < o.blocks; ++g)
      for (int64_t j = 0; j < o.n; ++j) {
        T sum(0);
        for (int64_t i = 0; i < o.k; ++i)
          sum += m.at(o.x, r, g * o.k + i) * m.at(o.weight, g * o.k + i, j);
        if (o.bias) sum += m.at(o.bias, g * o.n + j, 0);
        m.at(o.out, r, g * o.n + j) = sum;
      }
}

template <class T>
void run(const Glu& o, Memory<T>& m) {
  for (int64_t r = 0; r < o.rows; ++r)
    for (int64_t i = 0; i < o.width; ++i)
      m.at(o.out, r, i) = act_of(o.act, m.at(o.gate, r, i)) * m.at(o.up, r, i);
}

template <class T>
void run(const Activation& o, Memory<T>& m) {
  for (int64_t r = 0; r < o.rows; ++r)
    for (int64_t i = 0; i < o.width; ++i) m.at(o.out, r, i) = act_of(o.act, m.at(o.x, r, i));
}

template <class T>
void run(const RowGate& o, Memory<T>& m) {
  for (int64_t r = 0; r < o.rows; ++r) {
    const T gate = act_of(o.act, m.at(o.gate, r, 0));
    for (int64_t i = 0; i < o.width; ++i) m.at(o.out, r, i) = gate * m.at(o.x, r, i);
  }
}

template <class T>
void run(const SoftCap& o, Memory<T>& m) {
  Operand x = o.x;
  x.offset += o.past * o.out_per_past;
  for (int64_t r = 0; r < o.rows; ++r)
    for (int64_t i = 0; i < o.width; ++i)
      m.at(x, r, i) = T(o.cap) * tanh_of(m.at(x, r, i) / T(o.cap));
}

template <class T>
void run(const SelectLast& o, Memory<T>& m) {
  for (int64_t b = 0; b < o.batch; ++b)
    for (int64_t i = 0; i < o.width; ++i)
      m.at(o.out, b, i) = m.at(o.x, b * o.length + o.length - 1, i);
}

template <class T>
void run(const Argmax& o, Memory<T>& m) {
  for (int64_t b = 0; b < o.batch; ++b) {
    const int64_t row = o.past * o.rows_per_past + (b + 1) * o.rows_per_sequence - 1;
    int64_t best = 0;
    for (int64_t v = 0; v < o.vocab; ++v)
      if (greater(m.at(o.logits, row, v), m.at(o.logits, row, best))) best = v;
    m.ids[static_cast<size_t>(o.ids.offset + b * o.ids.stride + o.past + o.length)] =
        static_cast<int32_t>(best);
  }
}

}  // namespace tidemark::reference
