#include "report/trace.h"

#include <cmath>
#include <set>

#include "base/error.h"

namespace tidemark {
namespace {

using JsonValue = nlohmann::ordered_json;

constexpr double us_per_s = 1e6;  // the format's unit
constexpr const char* memory_counter = "memory (bytes)";

double microseconds(double seconds, const char* what) {
  if (!std::isfinite(seconds) || seconds < 0)
    fail("trace: {}: expected a time of at least 0 s, found {}", what, seconds);
  return seconds * us_per_s;
}

// Names and orders processes (passes) and threads (tracks).
JsonValue metadata(const char* what, int64_t process, int64_t thread, JsonValue args) {
  return {
      {"ph", "M"}, {"name", what}, {"pid", process}, {"tid", thread}, {"args", std::move(args)}};
}

// Track 0 is the process itself; categories come after it.
int64_t track(Category category) {
  return static_cast<int64_t>(category) + 1;
}

void add(JsonValue& events, const Trace& trace, int64_t process) {
  events.push_back(metadata("process_name", process, 0, {{"name", trace.title}}));
  events.push_back(metadata("process_sort_index", process, 0, {{"sort_index", process}}));
  std::set<Category> categories;
  for (const TraceSlice& slice : trace.slices) categories.insert(slice.category);
  for (Category category : categories) {
    events.push_back(metadata("thread_name", process, track(category), {{"name", name(category)}}));
    events.push_back(
        metadata("thread_sort_index", process, track(category), {{"sort_index", track(category)}}));
  }
  for (const TraceSlice& slice : trace.slices) {
    JsonValue args = {{"role", name(slice.role)}, {"op", slice.name}};
    if (slice.layer >= 0) args["layer"] = slice.layer;
    args.update(slice.args);
    std::string title(name(slice.role));
    if (slice.layer >= 0) title += fmt::format(" {}", slice.layer);
    events.push_back({{"ph", "X"},
                      {"name", title},
                      {"cat", name(slice.category)},
                      {"pid", process},
                      {"tid", track(slice.category)},
                      {"ts", microseconds(slice.start_s, "start")},
                      {"dur", microseconds(slice.duration_s, "duration")},
                      {"args", std::move(args)}});
  }
  for (const MemoryPoint& point : trace.memory) {
    JsonValue bytes = JsonValue::object();
    for (Tag tag : all_tags) bytes[std::string(name(tag))] = point.bytes[tag];
    events.push_back({{"ph", "C"},
                      {"name", memory_counter},
                      {"pid", process},
                      {"tid", 0},
                      {"ts", microseconds(point.time_s, "memory")},
                      {"args", std::move(bytes)}});
  }
}

}  // namespace

JsonValue trace_to_json(std::span<const Trace> traces) {
  JsonValue events = JsonValue::array();
  int64_t process = 0;
  for (const Trace& trace : traces) add(events, trace, ++process);
  return {{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}};
}

std::vector<MemoryTimeline> memory_from_trace(const JsonValue& json) {
  if (!json.is_object() || !json.contains("traceEvents") || !json["traceEvents"].is_array())
    fail("expected a trace by tidemark trace: an object with the list 'traceEvents'");
  std::vector<MemoryTimeline> timelines;
  std::vector<int64_t> processes;
  try {
    for (const JsonValue& event : json["traceEvents"]) {
      if (event.value("name", "") == "process_name") {
        processes.push_back(event.at("pid").get<int64_t>());
        timelines.push_back({.title = event.at("args").at("name").get<std::string>()});
      }
      if (event.value("ph", "") != "C" || event.value("name", "") != memory_counter) continue;
      if (processes.empty() || processes.back() != event.at("pid").get<int64_t>())
        fail("expected the counters of a pass to follow its process_name");
      MemoryPoint point{.time_s = event.at("ts").get<double>() / us_per_s};
      for (Tag tag : all_tags)
        point.bytes[tag] = event.at("args").at(std::string(name(tag))).get<int64_t>();
      timelines.back().points.push_back(point);
    }
  } catch (const JsonValue::exception& error) {
    fail("not a trace by tidemark trace: {}", error.what());
  }
  std::erase_if(timelines, [](const MemoryTimeline& t) { return t.points.empty(); });
  return timelines;
}

}  // namespace tidemark
