// Scalar references of the state-space operators.
#pragma once

#include <algorithm>

#include "plan/reference/memory.h"
#include "plan/reference/number.h"

namespace tidemark::reference {

template <class T>
void run(const Conv1d& o, Memory<T>& m) {
  const int64_t k = o.width, carried = k - 1;
  for (int64_t b = 0; b < o.batch; ++b)
    for (int64_t c = 0; c < o.channels; ++c) {
      const int64_t state_row = b * o.channels + c;
      // Input at step position t; negative t reaches into the carried state, oldest first.
      auto input = [&](int64_t t) {
        if (t >= 0) return m.at(o.x, b * o.length + t, c);
        return o.past > 0 ? m.at(o.state, state_row, carried + t) : T(0);
      };
      std::vector<T> next(static_cast<size_t>(carried));
      for (int64_t i = 0; i < carried; ++i)
        next[static_cast<size_t>(i)] = input(o.length - carried + i);
      // Backwards, so that `out` may be the same memory as `x`.
      for (int64_t t = o.length - 1; t >= 0; --t) {
        T sum = o.bias ? m.at(o.bias, c, 0) : T(0);
        for (int64_t i = 0; i < k; ++i) sum += m.at(o.weight, c, i) * input(t - carried + i);
        m.at(o.out, b * o.length + t, c) = o.silu ? act_of(Act::silu, sum) : sum;
      }
      for (int64_t i = 0; i < carried; ++i)
        m.at(o.state, state_row, i) = next[static_cast<size_t>(i)];
    }
}

template <class T>
void run(const SelectiveScan& o, Memory<T>& m) {
  const int64_t n = o.state_size;
  std::vector<T> a(static_cast<size_t>(n));
  for (int64_t d = 0; d < o.channels; ++d) {
    for (int64_t i = 0; i < n; ++i) a[static_cast<size_t>(i)] = -exp_of(m.at(o.a_log, d, i));
    for (int64_t b = 0; b < o.batch; ++b) {
      const int64_t state_row = b * o.channels + d;
      if (o.past == 0)
        for (int64_t i = 0; i < n; ++i) m.at(o.state, state_row, i) = T(0);
      for (int64_t t = 0; t < o.length; ++t) {
        const int64_t row = b * o.length + t;
        const T x = m.at(o.x, row, d);
        const T delta = softplus_of(m.at(o.dt, row, d) + m.at(o.dt_bias, d, 0));
        const T dx = delta * x;
        T y(0);
        for (int64_t i = 0; i < n; ++i) {
          T& h = m.at(o.state, state_row, i);
          h = exp_of(delta * a[static_cast<size_t>(i)]) * h + dx * m.at(o.b, row, i);
          y += m.at(o.c, row, i) * h;
        }
        y = y + m.at(o.d_skip, d, 0) * x;
        m.at(o.out, row, d) = y * act_of(Act::silu, m.at(o.z, row, d));
      }
    }
  }
}

template <class T>
T ssd_delta(const Ssd& o, Memory<T>& m, int64_t row, int64_t head) {
  T delta = softplus_of(m.at(o.dt, row, head) + m.at(o.dt_bias, head, 0));
  if (o.dt_min > 0.0F || o.dt_max > 0.0F) {
    delta = max_of(delta, T(o.dt_min));
    const T top = T(o.dt_max > 0.0F ? static_cast<double>(o.dt_max) : 1e300);
    delta = -max_of(-delta, -top);
  }
  return delta;
}

template <class T>
void ssd_recurrence(const Ssd& o, Memory<T>& m, const std::vector<T>& a) {
  const int64_t n = o.state_size, per_group = o.heads / o.groups;
  for (int64_t b = 0; b < o.batch; ++b)
    for (int64_t h = 0; h < o.heads; ++h)
      for (int64_t t = 0; t < o.length; ++t) {
        const int64_t row = b * o.length + t, from = h / per_group * n;
        const T delta = ssd_delta(o, m, row, h);
        const T decay = exp_of(delta * a[static_cast<size_t>(h)]);
        for (int64_t p = 0; p < o.head_dim; ++p) {
          const T x = m.at(o.x, row, h * o.head_dim + p), dx = delta * x;
          T y(0);
          for (int64_t i = 0; i < n; ++i) {
            T& state = m.at(o.state, (b * o.heads + h) * o.head_dim + p, i);
            state = decay * state + dx * m.at(o.b, row, from + i);
            y += m.at(o.c, row, from + i) * state;
          }
          m.at(o.out, row, h * o.head_dim + p) = y + m.at(o.d_skip, h, 0) * x;
        }
      }
}

// One block of q positions from row `first` (arXiv 2405.21060, section 6, listing 1).
template <class T>
void ssd_block(const Ssd& o, Memory<T>& m, const std::vector<T>& a, int64_t b, int64_t first,
               int64_t q) {
  const int64_t n = o.state_size, p_dim = o.head_dim, per_group = o.heads / o.groups;
  const auto at = [](int64_t i) { return static_cast<size_t>(i); };
  std::vector<T> cb(at(q * q)), cumulative(at(q)), delta(at(q)), dx(at(q * p_dim)), y(at(p_dim));
  for (int64_t g = 0; g < o.groups; ++g) {
    for (int64_t i = 0; i < q; ++i)
      for (int64_t j = 0; j <= i; ++j) {
        T sum(0);
        for (int64_t s = 0; s < n; ++s)
          sum += m.at(o.c, first + i, g * n + s) * m.at(o.b, first + j, g * n + s);
        cb[at(i * q + j)] = sum;
      }
    for (int64_t h = g * per_group; h < (g + 1) * per_group; ++h) {
      T running(0);
      for (int64_t i = 0; i < q; ++i) {
        delta[at(i)] = ssd_delta(o, m, first + i, h);
        running += delta[at(i)] * a[at(h)];
        cumulative[at(i)] = running;
        for (int64_t p = 0; p < p_dim; ++p)
          dx[at(i * p_dim + p)] = delta[at(i)] * m.at(o.x, first + i, h * p_dim + p);
      }
      const int64_t state_row = (b * o.heads + h) * p_dim;
      for (int64_t i = 0; i < q; ++i) {
        for (T& v : y) v = T(0);
        for (int64_t j = 0; j <= i; ++j) {
          const T w = exp_of(cumulative[at(i)] - cumulative[at(j)]) * cb[at(i * q + j)];
          for (int64_t p = 0; p < p_dim; ++p) y[at(p)] += w * dx[at(j * p_dim + p)];
        }
        const T decay = exp_of(cumulative[at(i)]);
        for (int64_t p = 0; p < p_dim; ++p) {
          T carried(0);
          for (int64_t s = 0; s < n; ++s)
            carried += m.at(o.c, first + i, g * n + s) * m.at(o.state, state_row + p, s);
          y[at(p)] += decay * carried;
          const T x = m.at(o.x, first + i, h * p_dim + p);
          m.at(o.out, first + i, h * p_dim + p) = y[at(p)] + m.at(o.d_skip, h, 0) * x;
        }
      }
      const T decay = exp_of(cumulative[at(q - 1)]);
      for (int64_t p = 0; p < p_dim; ++p)
        for (int64_t s = 0; s < n; ++s)
          m.at(o.state, state_row + p, s) = m.at(o.state, state_row + p, s) * decay;
      for (int64_t j = 0; j < q; ++j) {
        const T w = exp_of(cumulative[at(q - 1)] - cumulative[at(j)]);
        for (int64_t p = 0; p < p_dim; ++p) {
          const T v = w * dx[at(j * p_dim + p)];
          for (int64_t s = 0; s < n; ++s)
            m.at(o.state, state_row + p, s) += v * m.at(o.b, first + j, g * n + s);
        }
      }
    }
  }
}

template <class T>
void run(const Ssd& o, Memory<T>& m) {
  std::vector<T> a(static_cast<size_t>(o.heads));
  for (int64_t h = 0; h < o.heads; ++h) a[static_cast<size_t>(h)] = -exp_of(m.at(o.a_log, h, 0));
  if (o.past == 0)
    for (int64_t r = 0; r < o.batch * o.heads * o.head_dim; ++r)
      for (int64_t i = 0; i < o.state_size; ++i) m.at(o.state, r, i) = T(0);
  if (o.form == SsdForm::recurrence) return ssd_recurrence(o, m, a);
  for (int64_t b = 0; b < o.batch; ++b)
    for (int64_t t = 0; t < o.length; t += o.chunk)
      ssd_block(o, m, a, b, b * o.length + t, std::min(o.chunk, o.length - t));
}

}  // namespace tidemark::reference
