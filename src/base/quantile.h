// The one meaning of a quantile and of a median.
#pragma once

#include <span>

namespace tidemark {

// Quantile `p` in [0, 1] of a non-empty ascending sample by linear interpolation at rank
// (n - 1) * p: type 7 of Hyndman and Fan (The American Statistician 50(4), 1996), the default of R.
double quantile_of_sorted(std::span<const double> sorted, double p);

// Of a non-empty sample in any order; between the two in the middle of an even number.
double median(std::span<const double> sample);

}  // namespace tidemark
