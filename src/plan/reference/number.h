// Scalar mathematics the references are written in, for double, float and a type that counts.
#pragma once

#include <cmath>
#include <cstdint>

#include "model/spec.h"

namespace tidemark::reference {

// A double that counts every + - * / exp log1p sqrt sin cos tanh erf and max/compare as one
// operation; negation, absolute value, copies and conversions are free.
struct Counted {
  double value = 0;
  inline static thread_local int64_t ops = 0;

  Counted() = default;
  explicit Counted(double v) : value(v) {}
  Counted operator-() const { return Counted(-value); }
  Counted& operator+=(Counted o) { return *this = *this + o; }
  friend Counted operator+(Counted a, Counted b) { return counted(a.value + b.value); }
  friend Counted operator-(Counted a, Counted b) { return counted(a.value - b.value); }
  friend Counted operator*(Counted a, Counted b) { return counted(a.value * b.value); }
  friend Counted operator/(Counted a, Counted b) { return counted(a.value / b.value); }
  static Counted counted(double v) {
    ++ops;
    return Counted(v);
  }
};

inline double exp_of(double v) {
  return std::exp(v);
}
inline double log1p_of(double v) {
  return std::log1p(v);
}
inline double sqrt_of(double v) {
  return std::sqrt(v);
}
inline double sin_of(double v) {
  return std::sin(v);
}
inline double cos_of(double v) {
  return std::cos(v);
}
inline double tanh_of(double v) {
  return std::tanh(v);
}
inline double erf_of(double v) {
  return std::erf(v);
}
inline double abs_of(double v) {
  return std::abs(v);
}
inline double max_of(double a, double b) {
  return a > b ? a : b;
}
inline bool greater(double a, double b) {
  return a > b;
}

// Rounded to fp32, and to the nearest integer, of two equally near the even one; neither counts.
inline double fp32_of(double v) {
  return static_cast<float>(v);
}
inline double nearest_of(double v) {
  return std::nearbyint(v);
}
inline Counted fp32_of(Counted v) {
  return Counted(fp32_of(v.value));
}
inline Counted nearest_of(Counted v) {
  return Counted(nearest_of(v.value));
}

inline Counted exp_of(Counted v) {
  return Counted::counted(std::exp(v.value));
}
inline Counted log1p_of(Counted v) {
  return Counted::counted(std::log1p(v.value));
}
inline Counted sqrt_of(Counted v) {
  return Counted::counted(std::sqrt(v.value));
}
inline Counted sin_of(Counted v) {
  return Counted::counted(std::sin(v.value));
}
inline Counted cos_of(Counted v) {
  return Counted::counted(std::cos(v.value));
}
inline Counted tanh_of(Counted v) {
  return Counted::counted(std::tanh(v.value));
}
inline Counted erf_of(Counted v) {
  return Counted::counted(std::erf(v.value));
}
inline Counted abs_of(Counted v) {
  return Counted(std::abs(v.value));
}
inline Counted max_of(Counted a, Counted b) {
  return Counted::counted(a.value > b.value ? a.value : b.value);
}
inline bool greater(Counted a, Counted b) {
  ++Counted::ops;
  return a.value > b.value;
}

template <class T>
T sigmoid_of(T x) {
  return T(1) / (T(1) + exp_of(-x));
}

// softplus(x) = log(1 + exp(x)), in the form that never overflows.
template <class T>
T softplus_of(T x) {
  return max_of(x, T(0)) + log1p_of(exp_of(-abs_of(x)));
}

template <class T>
T act_of(Act act, T x) {
  switch (act) {
    case Act::silu:
      return x / (T(1) + exp_of(-x));
    case Act::gelu:
      return T(0.5) * x * (T(1) + erf_of(x * T(0.70710678118654752440)));
    case Act::gelu_tanh: {
      const T inner = T(0.79788456080286535588) * (x + T(0.044715) * x * x * x);
      return T(0.5) * x * (T(1) + tanh_of(inner));
    }
    case Act::relu2: {
      const T r = max_of(x, T(0));
      return r * r;
    }
    case Act::sigmoid:
      return sigmoid_of(x);
    case Act::identity:
      return x;
  }
  return x;
}

}  // namespace tidemark::reference
