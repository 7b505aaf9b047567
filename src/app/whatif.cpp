#include "app/whatif.h"

#include <algorithm>
#include <sstream>

#include "base/error.h"

namespace tidemark {
namespace {

constexpr KernelClass scans[] = {KernelClass::selective_scan, KernelClass::ssd,
                                 KernelClass::state_step};
constexpr std::string_view resources[] = {"compute", "bandwidth", "launch", "memory"};

std::optional<KernelClass> kernel_class(const std::string& text) {
  for (int i = 0; i < kernel_class_count; ++i)
    if (name(static_cast<KernelClass>(i)) == text) return static_cast<KernelClass>(i);
  return std::nullopt;
}

void apply(const Scale& scale, Scales& scales, DeviceProfile& profile) {
  const auto kernel = [&](KernelClass c) {
    scales.kernels[static_cast<size_t>(c)] *= scale.factor;
  };
  if (scale.name == "compute") {
    scales.compute *= scale.factor;
  } else if (scale.name == "bandwidth") {
    scales.bandwidth *= scale.factor;
  } else if (scale.name == "launch") {
    scales.launch *= scale.factor;
  } else if (scale.name == "memory") {
    profile.memory_bytes.value *= scale.factor;
  } else if (scale.name == "ssm_scan") {
    for (const KernelClass c : scans) kernel(c);
  } else {
    kernel(*kernel_class(scale.name));
  }
}

std::string title(const Scale& scale) {
  return fmt::format("{} {:g}x", scale.name, scale.factor);
}

Record predicted(const ModelSpec& spec, DeviceProfile profile, const Workload& workload,
                 EngineModel engine, const std::vector<Scale>& scales) {
  Prediction prediction{.engine = engine};
  for (const Scale& scale : scales) apply(scale, prediction.scales, profile);
  return predict_record(spec, profile, workload, prediction);
}

std::optional<double> ratio(const std::optional<Summary>& before,
                            const std::optional<Summary>& after) {
  if (!before || !after) return std::nullopt;
  return before->median / after->median;
}

Gain gain(std::string what, const Record& before, const Record& after) {
  Gain g{.what = std::move(what),
         .ttft = ratio(before.metrics.ttft_s, after.metrics.ttft_s),
         .tpot = ratio(before.metrics.tpot_s, after.metrics.tpot_s),
         .energy = {}};
  if (before.prefill_energy && after.prefill_energy)
    g.energy = before.prefill_energy->total_j / after.prefill_energy->total_j;
  return g;
}

}  // namespace

std::vector<std::string> scale_names() {
  std::vector<std::string> names(std::begin(resources), std::end(resources));
  names.emplace_back("ssm_scan");
  for (int i = 0; i < kernel_class_count; ++i)
    names.emplace_back(name(static_cast<KernelClass>(i)));
  return names;
}

std::vector<Scale> parse_scales(const std::string& text) {
  const std::vector<std::string> known = scale_names();
  std::vector<Scale> scales;
  std::istringstream list(text);
  for (std::string part; std::getline(list, part, ',');) {
    const size_t equals = part.find('=');
    Scale scale{part.substr(0, equals), 0};
    if (std::find(known.begin(), known.end(), scale.name) == known.end())
      fail("--scale: '{}': expected one of {}", printable(scale.name), fmt::join(known, ", "));
    std::string factor = equals == part.npos ? "" : part.substr(equals + 1);
    if (factor.ends_with('x')) factor.pop_back();
    char* end = nullptr;
    scale.factor = std::strtod(factor.c_str(), &end);
    if (factor.empty() || *end != '\0' || !(scale.factor > 0) || scale.factor > 1e6)
      fail("--scale: {}: expected a factor above 0, as 2x, found '{}'", scale.name,
           printable(factor));
    scales.push_back(scale);
  }
  if (scales.empty()) fail("--scale: expected NAME=FACTOR, found nothing");
  return scales;
}

WhatIf what_if(const ModelSpec& spec, const DeviceProfile& profile, const Workload& workload,
               EngineModel engine, const std::vector<Scale>& scales) {
  WhatIf result{.context = workload.context,
                .before = predicted(spec, profile, workload, engine, {}),
                .gains = {}};
  for (const Scale& scale : scales)
    result.gains.push_back(
        gain(title(scale), result.before, predicted(spec, profile, workload, engine, {scale})));
  if (scales.size() > 1)
    result.gains.push_back(
        gain("all of them", result.before, predicted(spec, profile, workload, engine, scales)));
  return result;
}

Gain best_purchase(const ModelSpec& spec, const DeviceProfile& profile, const Workload& workload,
                   EngineModel engine) {
  const Record before = predicted(spec, profile, workload, engine, {});
  if (before.outcome != Outcome::ok)
    return {.what = "memory", .ttft = {}, .tpot = {}, .energy = {}};
  // TTFT alone when there are no decode steps.
  const auto time_s = [](const Record& r) {
    return r.metrics.end_to_end_s ? r.metrics.end_to_end_s->median : r.metrics.ttft_s->median;
  };
  Gain best;
  double best_s = 0;
  for (const char* resource : {"compute", "bandwidth", "launch"}) {
    const Record after = predicted(spec, profile, workload, engine, {{resource, 2}});
    if (!best.what.empty() && time_s(after) >= best_s) continue;
    best = gain(resource, before, after);
    best_s = time_s(after);
  }
  return best;
}

}  // namespace tidemark
