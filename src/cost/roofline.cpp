#include "cost/roofline.h"

#include <algorithm>
#include <cmath>

namespace tidemark {

double moving_time(const Work& w, const DeviceProfile& profile) {
  const double bandwidth = profile.bandwidth_bytes_per_s.value;
  if (!profile.cache_bytes || !profile.cache_bandwidth_bytes_per_s) return w.bytes() / bandwidth;
  const double cached = std::min(w.warm_bytes, profile.cache_bytes->value / 2);
  return (w.bytes() - cached) / bandwidth + cached / profile.cache_bandwidth_bytes_per_s->value;
}

namespace {

// How much longer it takes because the last wave of blocks does not fill the device. Libraries
// halve or quarter the blocks of a matrix product when that helps; smaller ones read their operands
// more often.
double unfilled(const Work& w, const DeviceProfile& profile) {
  if (w.tiles <= 0 || !profile.multiprocessors) return 1;
  const double at_once = profile.multiprocessors->value;
  const auto waves = [&](double blocks) { return std::ceil(blocks / at_once) * at_once / blocks; };
  if (w.kind == KernelClass::attention) return waves(w.tiles);
  return std::min({waves(w.tiles), 1.15 * waves(2 * w.tiles), 1.35 * waves(4 * w.tiles)});
}

}  // namespace

double peak_time(const Work& w, const DeviceProfile& profile) {
  const double filled_s = w.matrix_ops / profile.matrix_peak(w.dtype) +
                          w.special_ops / profile.special_ops_per_s.value +
                          w.vector_ops / profile.vector_ops_per_s.value;
  return filled_s * unfilled(w, profile);
}

Bound Timing::bound() const {
  if (launch_s >= std::max(compute_s, bandwidth_s)) return Bound::launch;
  return compute_s >= bandwidth_s ? Bound::compute : Bound::bandwidth;
}

Timing time_of(const Work& w, const DeviceProfile& profile, const Scales& scales, Cold cold) {
  const Efficiency& e = profile.of(w.kind);
  const double kernel = scales.kernels[static_cast<size_t>(w.kind)];
  const double launch_s = profile.launch_s.value;
  const double peak_s = peak_time(w, profile);
  double computed_s = peak_s / e.compute.at(peak_s);
  double moved_s = moving_time(w, profile);
  moved_s /= e.bandwidth.at(moved_s);
  // A share can be above 1: it was measured with what is cold here in a cache, or is of compute
  // alone. The launch counts, as it does in the bandwidth that was measured.
  if (cold == Cold::in_memory)
    moved_s = std::max(moved_s, w.cold_bytes / profile.bandwidth_bytes_per_s.value - launch_s);
  // Of compute it is of all units, which work side by side; products alone reach their peak at
  // most.
  computed_s = std::max(computed_s, w.matrix_ops / profile.matrix_peak(w.dtype) - launch_s);
  return {.compute_s = computed_s / kernel / scales.compute,
          .bandwidth_s = moved_s / kernel / scales.bandwidth,
          .launch_s = launch_s / scales.launch,
          .error = e.error};
}

double power_w(Bound bound, const DeviceProfile& profile) {
  if (!profile.board_w) return 0;
  const double idle = profile.idle_w ? profile.idle_w->value : 0;
  const double share = bound == Bound::compute     ? profile.compute_power
                       : bound == Bound::bandwidth ? profile.bandwidth_power
                                                   : profile.launch_power;
  return idle + share * (profile.board_w->value - idle);
}

}  // namespace tidemark
