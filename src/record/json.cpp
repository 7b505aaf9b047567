#include "record/json.h"

#include <cmath>
#include <concepts>
#include <string>
#include <type_traits>

namespace tidemark {
namespace {

using Json = nlohmann::ordered_json;

// Every struct lists its fields once, in fields(visitor, struct); Writer and Reader walk the list,
// so that what is written is what is read.
template <class T, class Struct>
concept Like = std::same_as<std::remove_const_t<T>, Struct>;

template <class V>
void fields(V& v, Like<Cell> auto& x) {
  v("model", x.model);
  v("family", x.family);
  v("device", x.device);
  v("dtype", x.dtype);
  v("batch", x.batch);
  v("context", x.context);
  v("new_tokens", x.new_tokens);
  v("chunk", x.chunk);
  v("logits", x.logits);
  v("threads", x.threads);
  v("memory_limit_bytes", x.memory_limit_bytes);
}

template <class V>
void fields(V& v, Like<Summary> auto& x) {
  v("median", x.median);
  v("p5", x.p5);
  v("p95", x.p95);
  v("n", x.n);
  if (x.n != 1) {  // one run has no interval
    v("ci_low", x.ci_low);
    v("ci_high", x.ci_high);
    v("ci_coverage", x.ci_coverage);
  }
  v("samples", x.samples);
}

template <class V>
void fields(V& v, Like<Stopping> auto& x) {
  v("reason", x.reason);
  v("threshold", x.threshold);
  v("time_budget_s", x.time_budget_s);
  v("relative_half_width", x.relative_half_width);
  v("warmup_runs", x.warmup_runs);
  v("runs", x.runs);
  v("elapsed_s", x.elapsed_s);
}

template <class V>
void fields(V& v, Like<Metrics> auto& x) {
  v("ttft_s", x.ttft_s);
  v("tpot_s", x.tpot_s);
  v("end_to_end_s", x.end_to_end_s);
  v("prefill_tokens_per_s", x.prefill_tokens_per_s);
  v("decode_tokens_per_s", x.decode_tokens_per_s);
  v("decode_step_s", x.decode_step_s);
  v("stopping", x.stopping);
}

template <class V>
void fields(V& v, Like<MemoryByTag> auto& x) {
  for (Tag tag : all_tags) v(name(tag).data(), x.bytes[static_cast<size_t>(tag)]);
}

template <class V>
void fields(V& v, Like<Memory> auto& x) {
  v("predicted", x.predicted);
  v("high_water", x.high_water);
  v("driver_bytes", x.driver_bytes);
  v("peak_rss_bytes", x.peak_rss_bytes);
  v("budget_bytes", x.budget_bytes);
}

template <class V>
void fields(V& v, Like<OperatorRow> auto& x) {
  v("index", x.index);
  v("op", x.op);
  v("category", x.category);
  v("role", x.role);
  v("layer", x.layer);
  v("calls", x.calls);
  v("time_s", x.time_s);
  v("ops", x.ops);
  v("bytes_read", x.bytes_read);
  v("bytes_written", x.bytes_written);
  v("implementation", x.implementation);
  v("bound", x.bound);
  v("time_low_s", x.time_low_s);
  v("time_high_s", x.time_high_s);
}

template <class V>
void fields(V& v, Like<DeviceTime> auto& x) {
  v("busy_s", x.busy_s);
  v("host_dispatch_s", x.host_dispatch_s);
  v("idle_s", x.idle_s);
}

template <class V>
void fields(V& v, Like<OperatorProfile> auto& x) {
  v("passes", x.passes);
  v("wall_s", x.wall_s);
  v("gap_s", x.gap_s);
  v("overhead", x.overhead);
  v("device", x.device);
  v("rows", x.rows);
}

template <class V>
void fields(V& v, Like<Energy> auto& x) {
  v("total_j", x.total_j);
  v("baseline_j", x.baseline_j);
  v("pass_s", x.pass_s);
  v("window_s", x.window_s);
  v("sensor", x.sensor);
  v("low_j", x.low_j);
  v("high_j", x.high_j);
}

template <class V>
void fields(V& v, Like<Provenance> auto& x) {
  v("device_name", x.device_name);
  v("cpu", x.cpu);
  v("isa", x.isa);
  v("threads", x.threads);
  v("memory_bytes", x.memory_bytes);
  v("os", x.os);
  v("libraries", x.libraries);
  v("compiler", x.compiler);
  v("version", x.version);
  v("commit", x.commit);
  v("dirty", x.dirty);
  v("date", x.date);
}

template <class V>
void fields(V& v, Like<Record> auto& x) {
  v("source", x.source);
  v("cell", x.cell);
  v("weights", x.weights);
  v("prompt", x.prompt);
  v("outcome", x.outcome);
  v("reason", x.reason);
  v("metrics", x.metrics);
  v("memory", x.memory);
  v("prefill", x.prefill);
  v("decode", x.decode);
  v("prefill_energy", x.prefill_energy);
  v("decode_energy", x.decode_energy);
  v("flags", x.flags);
  v("provenance", x.provenance);
}

// Last enumerator of each enum, for reading a name back.
constexpr Source last(Source) {
  return Source::predicted;
}
constexpr Outcome last(Outcome) {
  return Outcome::failed;
}
constexpr StopReason last(StopReason) {
  return StopReason::max_runs;
}
constexpr Bound last(Bound) {
  return Bound::launch;
}
constexpr DType last(DType) {
  return DType::w8a8;
}
constexpr LogitsPolicy last(LogitsPolicy) {
  return LogitsPolicy::all;
}
constexpr Category last(Category) {
  return Category::sampling;
}
constexpr Role last(Role) {
  return Role::sample;
}

template <class T>
inline constexpr bool is_vector = false;
template <class T>
inline constexpr bool is_vector<std::vector<T>> = true;

template <class T>
Json write(const T& value);

struct Writer {
  Json json = Json::object();
  template <class T>
  void operator()(const char* key, const T& value) {
    json[key] = write(value);
  }
  template <class T>
  void operator()(const char* key, const std::optional<T>& value) {
    if (value) json[key] = write(*value);
  }
};

template <class T>
Json write(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return name(value);
  } else if constexpr (is_vector<T>) {
    Json list = Json::array();
    for (const auto& element : value) list.push_back(write(element));
    return list;
  } else if constexpr (std::is_same_v<T, double>) {
    // JSON has no such number, and no measurement should give one.
    if (!std::isfinite(value)) fail("a record holds the number {}", value);
    return value;
  } else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
    return value;
  } else {
    Writer writer;
    fields(writer, value);
    return std::move(writer.json);
  }
}

template <class T>
void read(const Json& json, T& value);

struct Reader {
  const Json& json;
  template <class T>
  void operator()(const char* key, T& value) {
    if (!json.contains(key)) fail("key '{}' is missing", key);
    with_context(key, [&] { read(json[key], value); });
  }
  template <class T>
  void operator()(const char* key, std::optional<T>& value) {
    value.reset();
    if (json.contains(key)) with_context(key, [&] { read(json[key], value.emplace()); });
  }
};

template <class T>
void read(const Json& json, T& value) {
  if constexpr (std::is_enum_v<T>) {
    if (!json.is_string()) fail("expected a name, found {}", json.type_name());
    const auto text = json.get<std::string>();
    for (int i = 0; i <= static_cast<int>(last(T{})); ++i)
      if (name(static_cast<T>(i)) == text) return void(value = static_cast<T>(i));
    fail("unknown name '{}'", text);
  } else if constexpr (is_vector<T>) {
    if (!json.is_array()) fail("expected an array, found {}", json.type_name());
    value.clear();
    for (const Json& element : json) read(element, value.emplace_back());
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!json.is_boolean()) fail("expected true or false, found {}", json.type_name());
    value = json.get<bool>();
  } else if constexpr (std::is_integral_v<T>) {
    if (!json.is_number_integer()) fail("expected a whole number, found {}", json.type_name());
    value = json.get<T>();
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!json.is_number()) fail("expected a number, found {}", json.type_name());
    value = json.get<T>();
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!json.is_string()) fail("expected a string, found {}", json.type_name());
    value = json.get<std::string>();
  } else {
    if (!json.is_object()) fail("expected an object, found {}", json.type_name());
    Reader reader{json};
    fields(reader, value);
  }
}

}  // namespace

Json to_json(const Record& record) {
  return write(record);
}

Record record_from_json(const Json& json) {
  Record record;
  with_context("record", [&] { read(json, record); });
  return record;
}

Json records_to_json(std::span<const Record> records) {
  Json list = Json::array();
  for (const Record& record : records) list.push_back(to_json(record));
  return {{"schema", record_schema_version}, {"records", std::move(list)}};
}

std::vector<Record> records_from_json(const Json& json) {
  if (!json.is_object() || !json.contains("schema") || !json.contains("records"))
    fail("expected an object with the keys 'schema' and 'records'");
  if (json["schema"] != record_schema_version)
    fail("schema: expected version {}, found {}", record_schema_version, json["schema"].dump());
  std::vector<Record> records;
  with_context("records", [&] { read(json["records"], records); });
  return records;
}

}  // namespace tidemark
