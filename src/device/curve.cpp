#include "device/curve.h"

#include <algorithm>
#include <cmath>

namespace tidemark {

double Curve::at(double x) const {
  if (x <= points.front().x) return points.front().y;
  if (x >= points.back().x) return points.back().y;
  const auto above =
      std::upper_bound(points.begin(), points.end(), x,
                       [](double value, const CurvePoint& p) { return value < p.x; });
  const CurvePoint &a = *(above - 1), &b = *above;
  const double share = std::log(x / a.x) / std::log(b.x / a.x);
  return a.y * std::pow(b.y / a.y, share);
}

}  // namespace tidemark
