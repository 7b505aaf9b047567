// Scalar references of routing and of the experts.
#pragma once

#include <algorithm>
#include <limits>

#include "plan/reference/dense.h"
#include "plan/reference/memory.h"
#include "plan/reference/number.h"

namespace tidemark::reference {

// The index of the largest `value` among those not yet `taken`, of equals the first.
template <class T>
int64_t take_best(const std::vector<T>& value, std::vector<bool>& taken) {
  int64_t best = -1;
  T most(-std::numeric_limits<double>::infinity());
  for (size_t i = 0; i < value.size(); ++i)
    if (!taken[i] && (greater(value[i], most) || best < 0))
      best = static_cast<int64_t>(i), most = value[i];
  taken[static_cast<size_t>(best)] = true;
  return best;
}

// Takes out of the choice all experts but those of the groups whose two best sum highest.
template <class T>
void keep_best_groups(const Route& o, const std::vector<T>& choice, std::vector<bool>& taken) {
  const int64_t members = o.experts / o.groups;
  std::vector<T> sums;
  for (int64_t g = 0; g < o.groups; ++g) {
    const std::vector<T> group(choice.begin() + g * members, choice.begin() + (g + 1) * members);
    std::vector<bool> counted(group.size());
    T sum(0);
    for (int64_t i = 0; i < std::min<int64_t>(2, members); ++i)
      sum += group[static_cast<size_t>(take_best(group, counted))];
    sums.push_back(sum);
  }
  std::vector<bool> kept(sums.size());
  for (int64_t i = 0; i < o.top_groups; ++i) take_best(sums, kept);
  for (int64_t e = 0; e < o.experts; ++e)
    taken[static_cast<size_t>(e)] = !kept[static_cast<size_t>(e / members)];
}

template <class T>
void run(const Route& o, Memory<T>& m) {
  std::vector<std::vector<int64_t>> chosen;  // by row
  for (int64_t r = 0; r < o.rows; ++r) {
    std::vector<T> p;
    T peak(-1e300), total(0);
    for (int64_t e = 0; e < o.experts; ++e) {
      const T logit = m.at(o.logits, r, e);
      p.push_back(o.score == RouterScore::softmax ? logit : sigmoid_of(logit));
      if (o.score == RouterScore::softmax) peak = max_of(peak, logit);
    }
    if (o.score == RouterScore::softmax) {
      for (T& v : p) {
        v = exp_of(v - peak);
        total += v;
      }
      for (T& v : p) v = v / total;
    }
    std::vector<T> choice = p;
    if (o.bias)
      for (int64_t e = 0; e < o.experts; ++e) choice[static_cast<size_t>(e)] += m.at(o.bias, e, 0);
    std::vector<bool> taken(choice.size());
    if (o.groups > 1) keep_best_groups(o, choice, taken);
    chosen.emplace_back();
    T sum(0);
    for (int64_t j = 0; j < o.top_k; ++j) {
      const int64_t e = take_best(choice, taken);
      chosen.back().push_back(e);
      m.at(o.weights, r, j) = p[static_cast<size_t>(e)];
      if (o.normalize) sum += p[static_cast<size_t>(e)];
    }
    for (int64_t j = 0; j < o.top_k; ++j) {
      T& weight = m.at(o.weights, r, j);
      if (o.normalize) weight = weight / sum;
      if (o.scale != 1.0F) weight = weight * T(o.scale);
    }
  }
  int32_t slot = 0;
  for (int64_t e = 0; e < o.experts; ++e) {
    m.integer(o.first, e) = slot;
    for (int64_t r = 0; r < o.rows; ++r)
      for (int64_t j = 0; j < o.top_k; ++j)
        if (chosen[static_cast<size_t>(r)][static_cast<size_t>(j)] == e) {
          m.integer(o.token, slot) = static_cast<int32_t>(r);
          m.integer(o.position, r, j) = slot++;
        }
  }
  m.integer(o.first, o.experts) = slot;
}

template <class T>
void run(const ExpertGemm& o, Memory<T>& m) {
  for (int64_t e = 0; e < o.experts; ++e)
    for (int64_t i = m.integer(o.first, e); i < m.integer(o.first, e + 1); ++i) {
      const ProductRow<T> row =
          product_row(o.x, o.token ? m.integer(o.token, i) : i, o.k, o.int8_x, m);
      for (int64_t j = 0; j < o.n; ++j) m.at(o.out, i, j) = dot(row, o, e * o.n + j, o.k, m);
    }
}

template <class T>
void run(const Combine& o, Memory<T>& m) {
  for (int64_t r = 0; r < o.rows; ++r)
    for (int64_t i = 0; i < o.width; ++i) {
      T sum(0);
      for (int64_t j = 0; j < o.top_k; ++j)
        sum += m.at(o.weights, r, j) * m.at(o.x, m.integer(o.position, r, j), i);
      if (o.accumulate) sum += m.at(o.out, r, i);
      m.at(o.out, r, i) = sum;
    }
}

}  // namespace tidemark::reference
