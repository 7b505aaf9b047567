// Scalar references of the gated delta rule and the RG-LRU.
#pragma once

#include <algorithm>

#include "plan/reference/memory.h"
#include "plan/reference/number.h"

namespace tidemark::reference {

// What the gated delta rule derives of one sequence's inputs: unit q and k, g and beta.
template <class T>
struct DeltaInputs {
  DeltaInputs(const GatedDelta& o, Memory<T>& m, int64_t b, const std::vector<T>& a)
      : key_heads(o.key_heads), value_heads(o.value_heads), key_dim(o.key_dim) {
    const T scale(1 / std::sqrt(static_cast<double>(key_dim)));
    for (int64_t t = 0; t < o.length; ++t) {
      const int64_t row = b * o.length + t;
      for (int64_t h = 0; h < key_heads; ++h) {
        append_unit(q, m, o.q, row, h, &scale);
        append_unit(k, m, o.k, row, h, nullptr);
      }
      for (int64_t h = 0; h < value_heads; ++h) {
        beta.push_back(sigmoid_of(m.at(o.b, row, h)));
        g.push_back(a[static_cast<size_t>(h)] *
                    softplus_of(m.at(o.a, row, h) + m.at(o.dt_bias, h, 0)));
      }
    }
  }
  // Of token t and value head h.
  const T* query(int64_t t, int64_t h) const { return &q[key_at(t, h)]; }
  const T* key(int64_t t, int64_t h) const { return &k[key_at(t, h)]; }
  size_t at(int64_t t, int64_t h) const { return static_cast<size_t>(t * value_heads + h); }

  int64_t key_heads, value_heads, key_dim;
  std::vector<T> q, k, g, beta;

 private:
  size_t key_at(int64_t t, int64_t h) const {
    return static_cast<size_t>((t * key_heads + h / (value_heads / key_heads)) * key_dim);
  }
  void append_unit(std::vector<T>& to, Memory<T>& m, const Operand& x, int64_t row, int64_t h,
                   const T* scale) {
    T square(0);
    for (int64_t i = 0; i < key_dim; ++i)
      square += m.at(x, row, h * key_dim + i) * m.at(x, row, h * key_dim + i);
    T inverse = T(1) / sqrt_of(square + T(delta_norm_eps));
    if (scale) inverse = inverse * *scale;
    for (int64_t i = 0; i < key_dim; ++i) to.push_back(m.at(x, row, h * key_dim + i) * inverse);
  }
};

template <class T>
T dot(const T* x, const T* y, int64_t count) {
  T sum(0);
  for (int64_t i = 0; i < count; ++i) sum += x[i] * y[i];
  return sum;
}

// sum_i x[i] S[i, j]
template <class T>
T times_state(const T* x, const Operand& state, Memory<T>& m, int64_t state_row, int64_t j,
              int64_t count) {
  T sum(0);
  for (int64_t i = 0; i < count; ++i) sum += x[i] * m.at(state, state_row + i, j);
  return sum;
}

template <class T>
void delta_recurrence(const GatedDelta& o, Memory<T>& m, int64_t b, const DeltaInputs<T>& in) {
  for (int64_t h = 0; h < o.value_heads; ++h) {
    const int64_t state_row = (b * o.value_heads + h) * o.key_dim;
    for (int64_t t = 0; t < o.length; ++t) {
      const int64_t row = b * o.length + t;
      const T decay = exp_of(in.g[in.at(t, h)]), beta = in.beta[in.at(t, h)];
      const T* k = in.key(t, h);
      for (int64_t j = 0; j < o.value_dim; ++j) {
        for (int64_t i = 0; i < o.key_dim; ++i)
          m.at(o.state, state_row + i, j) = m.at(o.state, state_row + i, j) * decay;
        const T seen = times_state(k, o.state, m, state_row, j, o.key_dim);
        const T delta = (m.at(o.v, row, h * o.value_dim + j) - seen) * beta;
        for (int64_t i = 0; i < o.key_dim; ++i) m.at(o.state, state_row + i, j) += k[i] * delta;
        m.at(o.out, row, h * o.value_dim + j) =
            times_state(in.query(t, h), o.state, m, state_row, j, o.key_dim);
      }
    }
  }
}

// q positions from token `first` of sequence b, as matrix products. With G the running sum of g
// and S the state before the block, the deltas solve a unit lower triangular system:
// d_i = beta_i (v_i - e^{G_i} k_i S) - sum_{j<i} beta_i e^{G_i - G_j} (k_i . k_j) d_j.
template <class T>
void delta_block(const GatedDelta& o, Memory<T>& m, int64_t b, int64_t first, int64_t q,
                 const DeltaInputs<T>& in) {
  const auto at = [](int64_t i) { return static_cast<size_t>(i); };
  const int64_t pv = o.value_dim, per_key = o.value_heads / o.key_heads;
  std::vector<T> kk(at(q * q)), qk(at(q * q)), sum(at(q)), delta(at(q * pv));
  for (int64_t h = 0; h < o.value_heads; ++h) {
    if (h % per_key == 0)
      for (int64_t i = 0; i < q; ++i)
        for (int64_t j = 0; j <= i; ++j) {
          const T* right = in.key(first + j, h);
          qk[at(i * q + j)] = dot(in.query(first + i, h), right, o.key_dim);
          if (j < i) kk[at(i * q + j)] = dot(in.key(first + i, h), right, o.key_dim);
        }
    const int64_t state_row = (b * o.value_heads + h) * o.key_dim;
    T running(0);
    for (int64_t i = 0; i < q; ++i) {
      running += in.g[in.at(first + i, h)];
      sum[at(i)] = running;
    }
    std::vector<T> weight(at(q));
    for (int64_t i = 0; i < q; ++i) {
      const int64_t row = b * o.length + first + i;
      const T decay = exp_of(sum[at(i)]), beta = in.beta[in.at(first + i, h)];
      for (int64_t j = 0; j < i; ++j) weight[at(j)] = exp_of(sum[at(i)] - sum[at(j)]);
      for (int64_t c = 0; c < pv; ++c) {
        const T seen = times_state(in.key(first + i, h), o.state, m, state_row, c, o.key_dim);
        delta[at(i * pv + c)] = beta * (m.at(o.v, row, h * pv + c) - decay * seen);
        const T carried = times_state(in.query(first + i, h), o.state, m, state_row, c, o.key_dim);
        m.at(o.out, row, h * pv + c) = decay * carried;
      }
      for (int64_t j = 0; j < i; ++j) {
        const T share = beta * weight[at(j)] * kk[at(i * q + j)];
        for (int64_t c = 0; c < pv; ++c)
          delta[at(i * pv + c)] = delta[at(i * pv + c)] - share * delta[at(j * pv + c)];
      }
      for (int64_t j = 0; j <= i; ++j) {
        T w = qk[at(i * q + j)];
        if (j < i) w = w * weight[at(j)];
        for (int64_t c = 0; c < pv; ++c) m.at(o.out, row, h * pv + c) += w * delta[at(j * pv + c)];
      }
    }
    const T decay = exp_of(sum[at(q - 1)]);
    for (int64_t i = 0; i < o.key_dim; ++i)
      for (int64_t c = 0; c < pv; ++c)
        m.at(o.state, state_row + i, c) = m.at(o.state, state_row + i, c) * decay;
    for (int64_t j = 0; j < q; ++j) {
      const T w = exp_of(sum[at(q - 1)] - sum[at(j)]);
      for (int64_t c = 0; c < pv; ++c) {
        const T d = w * delta[at(j * pv + c)];
        for (int64_t i = 0; i < o.key_dim; ++i)
          m.at(o.state, state_row + i, c) += in.key(first + j, h)[i] * d;
      }
    }
  }
}

template <class T>
void run(const GatedDelta& o, Memory<T>& m) {
  std::vector<T> a(static_cast<size_t>(o.value_heads));
  for (int64_t h = 0; h < o.value_heads; ++h)
    a[static_cast<size_t>(h)] = -exp_of(m.at(o.a_log, h, 0));
  if (o.past == 0)
    for (int64_t r = 0; r < o.batch * o.value_heads * o.key_dim; ++r)
      for (int64_t i = 0; i < o.value_dim; ++i) m.at(o.state, r, i) = T(0);
  for (int64_t b = 0; b < o.batch; ++b) {
    const DeltaInputs<T> in(o, m, b, a);
    if (o.form == SsdForm::recurrence) {
      delta_recurrence(o, m, b, in);
    } else {
      for (int64_t t = 0; t < o.length; t += o.chunk)
        delta_block(o, m, b, t, std::min(o.chunk, o.length - t), in);
    }
  }
}

template <class T>
void run(const RgLru& o, Memory<T>& m) {
  for (int64_t c = 0; c < o.width; ++c) {
    const T slope = T(-8) * softplus_of(m.at(o.param, c, 0));
    for (int64_t b = 0; b < o.batch; ++b) {
      T& h = m.at(o.state, b * o.width + c, 0);
      if (o.past == 0) h = T(0);
      for (int64_t t = 0; t < o.length; ++t) {
        const int64_t row = b * o.length + t;
        const T input = sigmoid_of(m.at(o.input_gate, row, c)) * m.at(o.x, row, c);
        const T log_a = slope * sigmoid_of(m.at(o.recurrent_gate, row, c));
        T root = sqrt_of(T(1) - exp_of(T(2) * log_a));
        if (o.past + t == 0) root = T(1);
        h = exp_of(log_a) * h + root * input;
        m.at(o.out, row, c) = h;
      }
    }
  }
}

}  // namespace tidemark::reference
