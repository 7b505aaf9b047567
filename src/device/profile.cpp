#include "device/profile.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "device/compiled_in.h"

namespace tidemark {
namespace {

constexpr std::string_view class_names[] = {
    "gemm",           "gemm_f32", "gemv",       "attention", "attention_step", "masked_attention",
    "selective_scan", "ssd",      "state_step", "conv",      "stream"};
static_assert(std::size(class_names) == kernel_class_count);

// A key that is misspelt would otherwise be a value that is silently a default.
void check_keys(const Json& object, std::initializer_list<std::string_view> known) {
  for (const std::string& key : object.keys())
    if (std::find(known.begin(), known.end(), key) == known.end())
      fail("{}: unknown key '{}', expected {}", object.where(), printable(key),
           fmt::join(known, ", "));
}

double positive(const Json& json) {
  const double value = json.number();
  if (!(value > 0) || value > 1e30) json.fail_expected("a finite number above 0");
  return value;
}

double fraction(const Json& json) {
  const double value = json.number();
  if (!(value >= 0) || value > 1) json.fail_expected("a number from 0 to 1");
  return value;
}

Quantity quantity(const Json& json) {
  check_keys(json, {"value", "source"});
  Quantity q{positive(json["value"]), json["source"].string()};
  if (q.source.empty()) json["source"].fail_expected("where the value is from");
  return q;
}

// Absent from a profile: what is typical of its kind.
void read(const Json& object, std::string_view key, Quantity& into) {
  if (object.has(key)) into = quantity(object[key]);
}
void read(const Json& object, std::string_view key, std::optional<Quantity>& into) {
  if (object.has(key)) into = quantity(object[key]);
}

Curve curve(const Json& json) {
  if (!json.is_array()) return constant_curve(positive(json));
  Curve c;
  for (size_t i = 0; i < json.size(); ++i) {
    const Json point = json[i];
    if (!point.is_array() || point.size() != 2)
      point.fail_expected("a pair [seconds at the peak, share]");
    c.points.push_back({positive(point[0]), positive(point[1])});
    if (i > 0 && c.points[i - 1].x >= c.points[i].x)
      point.fail_expected("seconds in ascending order");
  }
  if (c.points.empty()) json.fail_expected("at least one point");
  return c;
}

void read_efficiency(const Json& json, DeviceProfile& profile) {
  for (const std::string& key : json.keys()) {
    const auto found = std::find(std::begin(class_names), std::end(class_names), key);
    if (found == std::end(class_names))
      fail("{}: unknown key '{}', expected {}", json.where(), printable(key),
           fmt::join(class_names, ", "));
    const Json entry = json[key];
    check_keys(entry, {"compute", "bandwidth", "error", "source"});
    Efficiency& e = profile.efficiency[static_cast<size_t>(found - std::begin(class_names))];
    e = {.error = entry["error"].number(), .source = entry["source"].string()};
    if (!(e.error >= 0) || e.error > 100) entry["error"].fail_expected("a number from 0 to 100");
    if (entry.has("compute")) e.compute = curve(entry["compute"]);
    if (entry.has("bandwidth")) e.bandwidth = curve(entry["bandwidth"]);
  }
}

// What profiles and files of typical values share.
void read_behaviour(const Json& json, DeviceProfile& profile) {
  read(json, "launch_s", profile.launch_s);
  read(json, "step_s", profile.step_s);
  read(json, "dispatch_s", profile.dispatch_s);
  read(json, "host_launch_s", profile.host_launch_s);
  read(json, "host_jit_launch_s", profile.host_jit_launch_s);
  if (json.has("efficiency")) read_efficiency(json["efficiency"], profile);
  if (!json.has("power")) return;
  const Json power = json["power"];
  check_keys(power, {"idle_w", "board_w", "compute", "bandwidth", "launch", "source"});
  read(power, "idle_w", profile.idle_w);
  read(power, "board_w", profile.board_w);
  if (power.has("compute")) profile.compute_power = fraction(power["compute"]);
  if (power.has("bandwidth")) profile.bandwidth_power = fraction(power["bandwidth"]);
  if (power.has("launch")) profile.launch_power = fraction(power["launch"]);
}

DeviceKind kind(const Json& json) {
  const std::string text = json.string();
  if (text != "cpu" && text != "gpu") json.fail_expected("cpu or gpu");
  return text == "cpu" ? DeviceKind::cpu : DeviceKind::gpu;
}

Origin origin(const Json& json) {
  const std::string text = json.string();
  if (text != "datasheet" && text != "calibrated") json.fail_expected("datasheet or calibrated");
  return text == "datasheet" ? Origin::datasheet : Origin::calibrated;
}

void read_memory(const Json& memory, DeviceProfile& profile) {
  check_keys(memory, {"size_bytes", "bandwidth_bytes_per_s", "shared", "cache_bytes",
                      "cache_bandwidth_bytes_per_s"});
  profile.memory_bytes = quantity(memory["size_bytes"]);
  profile.bandwidth_bytes_per_s = quantity(memory["bandwidth_bytes_per_s"]);
  profile.shared_memory = memory["shared"].boolean();
  read(memory, "cache_bytes", profile.cache_bytes);
  if (profile.cache_bandwidth_bytes_per_s)
    profile.cache_bandwidth_bytes_per_s->value *= profile.bandwidth_bytes_per_s.value;
  read(memory, "cache_bandwidth_bytes_per_s", profile.cache_bandwidth_bytes_per_s);
}

void read_peaks(const Json& peaks, DeviceProfile& profile) {
  check_keys(peaks, {"bf16", "f16", "f32", "i8", "vector_f32", "special_f32"});
  profile.vector_ops_per_s = quantity(peaks["vector_f32"]);
  profile.special_ops_per_s.value *= profile.vector_ops_per_s.value;
  read(peaks, "special_f32", profile.special_ops_per_s);
  for (const std::string& key : peaks.keys())
    if (const auto dtype = parse_dtype(key))
      profile.matrix_ops_per_s[*dtype] = quantity(peaks[key]);
  profile.matrix_ops_per_s.try_emplace(DType::f32, profile.vector_ops_per_s);
}

nlohmann::ordered_json to_json(const Quantity& q) {
  return {{"value", q.value}, {"source", q.source}};
}

nlohmann::ordered_json to_json(const Curve& c) {
  nlohmann::ordered_json points = nlohmann::ordered_json::array();
  for (const CurvePoint& p : c.points) points.push_back({p.x, p.y});
  return points;
}

}  // namespace

std::string_view name(KernelClass c) {
  return class_names[static_cast<size_t>(c)];
}
std::string_view name(Origin o) {
  return o == Origin::datasheet ? "datasheet" : "calibrated";
}
std::string_view name(DeviceKind k) {
  return k == DeviceKind::cpu ? "cpu" : "gpu";
}

double DeviceProfile::matrix_peak(DType dtype) const {
  const auto found = matrix_ops_per_s.find(dtype);
  if (found == matrix_ops_per_s.end() && dtype == DType::i8) return matrix_peak(DType::bf16);
  return found != matrix_ops_per_s.end() ? found->second.value
                                         : matrix_ops_per_s.at(DType::f32).value;
}

DeviceProfile typical_profile(DeviceKind kind) {
  DeviceProfile profile;
  profile.kind = kind;
  for (const CompiledIn& file : typical_files()) {
    if (file.name != name(kind)) continue;
    const Json json = Json::parse(file.text, fmt::format("data/typical/{}.json", file.name));
    check_keys(json, {"launch_s", "host_launch_s", "host_jit_launch_s", "efficiency", "power",
                      "cache_bandwidth_ratio", "special_ratio"});
    read_behaviour(json, profile);
    // Of the f32 peak and the memory's bandwidth, until the profile says more.
    profile.special_ops_per_s = quantity(json["special_ratio"]);
    if (json.has("cache_bandwidth_ratio"))
      profile.cache_bandwidth_bytes_per_s = quantity(json["cache_bandwidth_ratio"]);
  }
  return profile;
}

DeviceProfile parse_profile(std::string_view text, const std::string& source) {
  const Json json = Json::parse(text, source);
  check_keys(json, {"name", "title", "kind", "origin", "memory", "peaks", "multiprocessors",
                    "block_shared_bytes", "launch_s", "step_s", "dispatch_s", "host_launch_s",
                    "host_jit_launch_s", "power", "efficiency"});
  DeviceProfile profile = typical_profile(kind(json["kind"]));
  profile.name = json["name"].string();
  profile.title = json["title"].string();
  profile.origin = origin(json["origin"]);
  read_memory(json["memory"], profile);
  read_peaks(json["peaks"], profile);
  read(json, "multiprocessors", profile.multiprocessors);
  read(json, "block_shared_bytes", profile.block_shared_bytes);
  read_behaviour(json, profile);
  return profile;
}

std::vector<std::string> profile_names() {
  std::vector<std::string> names;
  for (const CompiledIn& file : devices_files()) names.emplace_back(file.name);
  return names;
}

DeviceProfile load_profile(const std::string& name_or_file) {
  const std::string asked = plain_name(name_or_file);
  std::vector<std::string_view> near;  // that go on from what was asked for
  for (const CompiledIn& file : devices_files()) {
    if (plain_name(file.name) == asked)
      return parse_profile(file.text, fmt::format("data/devices/{}.json", file.name));
    if (plain_name(file.name).starts_with(asked)) near.push_back(file.name);
  }
  std::error_code error;
  if (std::filesystem::is_regular_file(name_or_file, error))
    return parse_profile(read_text(name_or_file), name_or_file);
  if (near.empty())
    for (const CompiledIn& file : devices_files()) near.push_back(file.name);
  fail("device '{}': expected a profile file or one of {}", printable(name_or_file),
       fmt::join(near, ", "));
}

std::string profile_text(const DeviceProfile& p) {
  nlohmann::ordered_json json = {{"name", p.name},
                                 {"title", p.title},
                                 {"kind", name(p.kind)},
                                 {"origin", name(p.origin)},
                                 {"memory",
                                  {{"size_bytes", to_json(p.memory_bytes)},
                                   {"bandwidth_bytes_per_s", to_json(p.bandwidth_bytes_per_s)},
                                   {"shared", p.shared_memory}}}};
  if (p.cache_bytes) json["memory"]["cache_bytes"] = to_json(*p.cache_bytes);
  if (p.cache_bandwidth_bytes_per_s)
    json["memory"]["cache_bandwidth_bytes_per_s"] = to_json(*p.cache_bandwidth_bytes_per_s);
  for (const auto& [dtype, peak] : p.matrix_ops_per_s)
    json["peaks"][std::string(name(dtype))] = to_json(peak);
  json["peaks"]["vector_f32"] = to_json(p.vector_ops_per_s);
  json["peaks"]["special_f32"] = to_json(p.special_ops_per_s);
  if (p.multiprocessors) json["multiprocessors"] = to_json(*p.multiprocessors);
  if (p.block_shared_bytes) json["block_shared_bytes"] = to_json(*p.block_shared_bytes);
  json["launch_s"] = to_json(p.launch_s);
  if (p.step_s.value > 0) json["step_s"] = to_json(p.step_s);
  if (p.dispatch_s.value > 0) json["dispatch_s"] = to_json(p.dispatch_s);
  json["host_launch_s"] = to_json(p.host_launch_s);
  json["host_jit_launch_s"] = to_json(p.host_jit_launch_s);
  if (p.idle_w) json["power"]["idle_w"] = to_json(*p.idle_w);
  if (p.board_w) json["power"]["board_w"] = to_json(*p.board_w);
  json["power"]["compute"] = p.compute_power;
  json["power"]["bandwidth"] = p.bandwidth_power;
  json["power"]["launch"] = p.launch_power;
  for (int i = 0; i < kernel_class_count; ++i) {
    const Efficiency& e = p.efficiency[static_cast<size_t>(i)];
    json["efficiency"][std::string(class_names[i])] = {{"compute", to_json(e.compute)},
                                                       {"bandwidth", to_json(e.bandwidth)},
                                                       {"error", e.error},
                                                       {"source", e.source}};
  }
  return json.dump(1) + "\n";
}

}  // namespace tidemark
