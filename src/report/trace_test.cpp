// The trace against the format's description ("Trace Event Format", Google): events with ph X, C
// and M, times in microseconds, every track named.
#include "report/trace.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <set>

#include "base/error.h"

namespace tidemark {
namespace {

Trace two_operators() {
  Trace trace{.title = "m, 4 tokens, prefill"};
  trace.slices = {{.name = "gemm",
                   .category = Category::gemm,
                   .role = Role::qkv_proj,
                   .layer = 3,
                   .start_s = 0.5e-3,
                   .duration_s = 2e-3,
                   .args = {{"ops", 12}}},
                  {.name = "argmax",
                   .category = Category::sampling,
                   .role = Role::sample,
                   .start_s = 2.5e-3,
                   .duration_s = 1e-6}};
  trace.memory = {{0.5e-3, {}}, {2.5e-3, {}}};
  trace.memory[0].bytes[Tag::weights] = 100;
  trace.memory[1].bytes[Tag::weights] = 100;
  trace.memory[1].bytes[Tag::logits] = 7;
  return trace;
}

TEST(Trace, HoldsEveryOperatorInATrackOfItsCategory) {
  const Trace trace = two_operators();
  const auto json = trace_to_json(std::span(&trace, 1));
  std::map<std::pair<int64_t, int64_t>, std::string> tracks;
  std::vector<nlohmann::ordered_json> slices;
  for (const auto& event : json["traceEvents"]) {
    // What the format asks of every event.
    const std::string phase = event.at("ph");
    ASSERT_TRUE(phase == "X" || phase == "C" || phase == "M") << phase;
    ASSERT_TRUE(event.at("name").is_string());
    ASSERT_TRUE(event.at("pid").is_number_integer());
    ASSERT_TRUE(event.at("tid").is_number_integer());
    if (phase != "M") {
      ASSERT_GE(event.at("ts").get<double>(), 0);
    }
    if (phase == "M" && event["name"] == "thread_name")
      tracks[{event["pid"], event["tid"]}] = event["args"]["name"];
    if (phase == "X") slices.push_back(event);
  }
  ASSERT_EQ(slices.size(), 2U);
  EXPECT_EQ(slices[0]["name"], "qkv_proj 3");
  EXPECT_EQ(slices[0]["cat"], "gemm");
  EXPECT_DOUBLE_EQ(slices[0]["ts"], 500);
  EXPECT_DOUBLE_EQ(slices[0]["dur"], 2000);
  EXPECT_EQ(slices[0]["args"]["ops"], 12);
  EXPECT_EQ(slices[0]["args"]["layer"], 3);
  EXPECT_EQ((tracks[{slices[0]["pid"], slices[0]["tid"]}]), "gemm");
  EXPECT_EQ(slices[1]["name"], "sample");
  EXPECT_FALSE(slices[1]["args"].contains("layer"));
  EXPECT_EQ((tracks[{slices[1]["pid"], slices[1]["tid"]}]), "sampling");
}

TEST(Trace, CountersOfMemoryComeBack) {
  const Trace traces[] = {two_operators(), two_operators()};
  const auto timelines = memory_from_trace(trace_to_json(traces));
  ASSERT_EQ(timelines.size(), 2U);
  EXPECT_EQ(timelines[1].title, "m, 4 tokens, prefill");
  ASSERT_EQ(timelines[1].points.size(), 2U);
  EXPECT_DOUBLE_EQ(timelines[1].points[1].time_s, 2.5e-3);
  EXPECT_EQ(timelines[1].points[1].bytes[Tag::logits], 7);
  EXPECT_EQ(timelines[1].points[1].bytes.total(), 107);
}

TEST(Trace, RefusesTimesThatAreNone) {
  Trace trace = two_operators();
  trace.slices[0].duration_s = -1;
  EXPECT_THROW(trace_to_json(std::span(&trace, 1)), Error);
  trace.slices[0].duration_s = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(trace_to_json(std::span(&trace, 1)), Error);
}

TEST(Trace, RefusesOtherFiles) {
  EXPECT_THROW(memory_from_trace(nlohmann::ordered_json::parse(R"([])")), Error);
  EXPECT_THROW(memory_from_trace(nlohmann::ordered_json::parse(
                   R"({"traceEvents": [{"ph": "M", "name": "process_name"}]})")),
               Error);
}

}  // namespace
}  // namespace tidemark
