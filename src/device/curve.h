// A piecewise log-log curve: how an efficiency changes with the size of the work.
#pragma once

#include <vector>

namespace tidemark {

struct CurvePoint {
  double x = 0, y = 0;  // both above 0
  bool operator==(const CurvePoint&) const = default;
};

// Straight between its points in log x and log y, constant outside them. One point: a constant.
struct Curve {
  std::vector<CurvePoint> points;  // by ascending x; not empty

  double at(double x) const;
  bool operator==(const Curve&) const = default;
};
inline Curve constant_curve(double y) {
  return {{{1, y}}};
}

}  // namespace tidemark
