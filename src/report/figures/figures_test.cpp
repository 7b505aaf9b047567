// Data behind the figures against numbers worked out by hand.
#include <gtest/gtest.h>

#include "report/figures/chart.h"
#include "report/figures/figure.h"
#include "report/figures/figure_text.h"
#include "report/figures/operators.h"
#include "report/figures/series.h"

namespace tidemark {
namespace {

constexpr int64_t mib = int64_t{1} << 20, gib = int64_t{1} << 30;

Record record(const char* model, int64_t context) {
  Record r;
  r.cell = {.model = model,
            .family = "f",
            .device = "cpu",
            .dtype = DType::bf16,
            .batch = 1,
            .context = context,
            .new_tokens = 2,
            .chunk = 512,
            .logits = LogitsPolicy::last,
            .threads = 2};
  return r;
}

Summary summary(double median, double low, double high) {
  return {.median = median,
          .p5 = low,
          .p95 = high,
          .ci_low = low,
          .ci_high = high,
          .ci_coverage = 0.95,
          .n = 6,
          .samples = {median}};
}

const JsonValue& values(const FigureContent& content) {
  return content.spec.at("data").at("values");
}

// The only row with these members.
JsonValue row_with(const FigureContent& content, const JsonValue& members) {
  JsonValue found;
  for (const JsonValue& row : values(content)) {
    bool all = true;
    for (const auto& [key, value] : members.items())
      all = all && row.contains(key) && row[key] == value;
    if (!all) continue;
    EXPECT_TRUE(found.is_null()) << "more than one row has " << members;
    found = row;
  }
  EXPECT_FALSE(found.is_null()) << "no row has " << members;
  return found;
}

double number(const FigureContent& content, size_t row, const std::string& column) {
  const auto& columns = content.table.columns;
  const auto at = std::find(columns.begin(), columns.end(), column) - columns.begin();
  return content.table.rows.at(row).at(static_cast<size_t>(at)).get<double>();
}

TEST(Configurations, NameOnlyWhatDiffers) {
  Study study{.records = {record("m", 1024), record("m", 2048)}};
  EXPECT_EQ(Configurations(study).of(study.records[0].cell), "");
  study.records[1].cell.device = "cuda:0";
  study.records[1].cell.dtype = DType::f32;
  EXPECT_EQ(Configurations(study).of(study.records[0].cell), "cpu, bf16");
  EXPECT_EQ(Configurations(study).of(study.records[1].cell), "cuda:0, f32");
  study.records[1].cell.memory_limit_bytes = 24 * gib;
  EXPECT_EQ(Configurations(study).of(study.records[1].cell), "cuda:0, f32, 24.00 GiB");
  EXPECT_EQ(Configurations(study).of(study.records[0].cell), "cpu, bf16, no limit");
}

TEST(Configurations, TakeAContextWithinOneChunkForWholeOnlyBesideLongerWholeOnes) {
  // Chunks of 512 over 256 and 2048 tokens: one configuration, though 256 tokens are one chunk.
  Study study{.records = {record("m", 256), record("m", 2048)}};
  study.records[0].cell.chunk = 256;
  EXPECT_EQ(Configurations(study).of(study.records[0].cell), "");
  // With 2048 whole as well, 256 tokens belong to the whole ones and 2048 in chunks stands apart.
  study.records.push_back(record("m", 2048));
  study.records.back().cell.chunk = 2048;
  EXPECT_EQ(Configurations(study).of(study.records[0].cell), "whole");
  EXPECT_EQ(Configurations(study).of(study.records[1].cell), "chunk 512");
  EXPECT_EQ(Configurations(study).of(study.records[2].cell), "whole");
  // Whole ones of another logits policy are no reason.
  study.records.back().cell.logits = LogitsPolicy::all;
  EXPECT_EQ(Configurations(study).of(study.records[0].cell), "chunk 512, last logits");
  EXPECT_EQ(Configurations(study).of(study.records[1].cell), "chunk 512, last logits");
  EXPECT_EQ(Configurations(study).of(study.records[2].cell), "whole, all logits");
}

TEST(Configurations, DoNotTakeMetaTokensInTheChunkForALongerContext) {
  Study study{.records = {record("m", 2048), record("with meta tokens", 512)}};
  study.records[1].cell.chunk = 512 + 128;  // the whole prefill
  EXPECT_EQ(Configurations(study).of(study.records[0].cell), "");
  EXPECT_EQ(Configurations(study).of(study.records[1].cell), "");
}

TEST(Configurations, TakeAContextWithinSeveralChunksForTheNarrowest) {
  Study study{
      .records = {record("m", 128), record("m", 300), record("m", 2048), record("m", 2048)}};
  study.records[0].cell.chunk = 128;
  study.records[1].cell.chunk = 300;
  study.records[3].cell.chunk = 256;
  EXPECT_EQ(Configurations(study).of(study.records[0].cell), "chunk 256");
  EXPECT_EQ(Configurations(study).of(study.records[1].cell), "chunk 512");
}

TEST(NewestRecords, KeepTheLatestOfACellAndOrderContexts) {
  Study study{.records = {record("m", 2048), record("m", 1024), record("m", 2048)}};
  study.records[0].provenance.date = "2030-01-02T00:00:00Z";
  study.records[0].weights = "newer";
  study.records[2].provenance.date = "2030-01-01T00:00:00Z";
  const std::vector<const Record*> newest = newest_records(study);
  ASSERT_EQ(newest.size(), 2U);
  EXPECT_EQ(newest[0]->cell.context, 1024);
  EXPECT_EQ(newest[1]->weights, "newer");
  EXPECT_EQ(superseded_records(study), 1);
}

TEST(ModelPanels, AreAGridOnlyWhenItIsComplete) {
  JsonValue rows = JsonValue::array();
  for (const char* model : {"a", "b"})
    for (const char* configuration : {"x", "y"})
      rows.push_back({{"model", model}, {"configuration", configuration}});
  const JsonValue view = {{"mark", "bar"}};
  EXPECT_TRUE(model_panels(rows, view, {1, 1}, {1, 1})["facet"].contains("row"));
  rows.erase(1);  // Vega would draw b's panels under a
  EXPECT_EQ(model_panels(rows, view, {1, 1}, {1, 1})["facet"]["sort"],
            JsonValue({"a\nx", "b\nx", "b\ny"}));
}

TEST(LogTicks, AreCloserTheNarrowerTheRange) {
  EXPECT_EQ(log_ticks({0.002, 5}), (std::vector<double>{0.001, 0.01, 0.1, 1, 10}));
  EXPECT_EQ(log_ticks({15, 200}),
            (std::vector<double>{10, 20, 50, 100, 200, 500, 1000, 2000, 5000}));
  const std::vector<double> narrow = log_ticks({2, 5});
  EXPECT_TRUE(std::count(narrow.begin(), narrow.end(), 1.5));
  EXPECT_TRUE(std::count(narrow.begin(), narrow.end(), 4));
  EXPECT_TRUE(log_ticks({}).empty());
}

int64_t ticks_within(Extent range) {
  const std::vector<double> ticks = log_ticks(range);
  const Extent wide = widened(range);
  return std::ranges::count_if(ticks, [&](double t) { return t >= wide.low && t <= wide.high; });
}

TEST(LogTicks, LabelEveryRangeTwiceAtLeast) {
  for (double low = 1e-6; low < 1e6; low *= 1.37)
    for (const double width :
         {1.0, 1.0001, 1.01, 1.2, 1.49, 1.99, 2.0, 4.0, 5.9, 6.1, 299.0, 1e4}) {
      const int64_t ticks = ticks_within({low, low * width});
      EXPECT_TRUE(ticks >= 2 && ticks <= 12) << low << " to " << low * width << ": " << ticks;
    }
  const std::vector<double> flat = log_ticks({123.4, 123.4});
  EXPECT_EQ(std::count(flat.begin(), flat.end(), 122), 1);
  EXPECT_EQ(widened({100, 100}).low, 100 / 1.05);
  EXPECT_EQ(widened({100, 300}).low, 100);
}

TEST(TokensText, UsesBinaryThousandsWhereTheyFit) {
  EXPECT_EQ(tokens_text(1024), "1K");
  EXPECT_EQ(tokens_text(57344), "56K");
  EXPECT_EQ(tokens_text(2097152), "2M");
  EXPECT_EQ(tokens_text(1000), "1,000");
  EXPECT_EQ(tokens_text(1234567), "1,234,567");
  EXPECT_EQ(tokens_text(7), "7");
}

TEST(TtftFigure, DrawsMediansWithIntervalsAndMarksWhatFailed) {
  Study study{.records = {record("m", 1024), record("m", 2048)}};
  study.records[0].metrics.ttft_s = summary(0.25, 0.24, 0.27);
  study.records[1].outcome = Outcome::out_of_memory;
  study.records[1].reason = "kv_cache: too large";
  const FigureContent figure = ttft_figure(study);
  const JsonValue measured = row_with(figure, {{"context", 1024}});
  EXPECT_EQ(measured["value"], 0.25);
  EXPECT_EQ(measured["low"], 0.24);
  EXPECT_EQ(measured["high"], 0.27);
  EXPECT_EQ(measured["interval"], "240.0 ms \u2013 270.0 ms (95.0 %)");
  const JsonValue failed = row_with(figure, {{"context", 2048}});
  EXPECT_FALSE(failed.contains("value"));
  EXPECT_EQ(failed["reason"], "kv_cache: too large");
  EXPECT_EQ(number(figure, 0, "TTFT (s)"), 0.25);
}

TEST(TpotFigure, HasNoCrossForACellWithoutADecode) {
  Study study{.records = {record("m", 1024), record("m", 2048), record("m", 4096)}};
  study.records[0].metrics.tpot_s = summary(0.25, 0.24, 0.27);
  study.records[0].metrics.decode_tokens_per_s = summary(4, 3.9, 4.1);
  study.records[1].outcome = study.records[2].outcome = Outcome::out_of_memory;
  study.records[2].cell.new_tokens = 1;
  EXPECT_EQ(values(tpot_figure(study)).size(), 2U);
  EXPECT_EQ(tpot_figure(study).table.rows.size(), 2U);
  int64_t prefill = 0, decode = 0;
  const FigureContent throughput = throughput_figure(study);
  for (const JsonValue& row : values(throughput))
    ++(row.at("panel").get<std::string>().starts_with("Prefill") ? prefill : decode);
  EXPECT_EQ(prefill, 2);
  EXPECT_EQ(decode, 2);
}

TEST(FigureText, TellsTimesInTheUnitThatSuitsThem) {
  const FigureContent content{
      .table = {.columns = {"TPOT (s)", "Runs"}, .rows = {{0.00000912345, 3}, {1.5, 4}}}};
  const std::string text = figure_text(figure_named("tpot"), content, {});
  EXPECT_NE(text.find("9.123 \u00b5s"), std::string::npos) << text;
  EXPECT_NE(text.find("1.500 s"), std::string::npos) << text;
  EXPECT_EQ(text.find("(s)"), std::string::npos) << text;
}

// The scale of each panel in the specification: {"Prefill": [low, high], ...}.
JsonValue by_panel(const JsonValue& value) {
  const auto text = value.at("expr").get<std::string>();
  const std::string_view where = "[parent.panel]";
  EXPECT_TRUE(text.ends_with(where)) << text;
  return JsonValue::parse(text.substr(0, text.size() - where.size()));
}

TEST(ThroughputFigure, GivesEachPanelAScaleOfItsOwn) {
  Study study{.records = {record("m", 1024), record("m", 2048)}};
  for (Record& r : study.records) {
    const double prefill = r.cell.context == 1024 ? 48455 : 48960;
    r.metrics.prefill_tokens_per_s = summary(prefill, prefill, prefill);
    r.metrics.decode_tokens_per_s = summary(100, 100, 100);  // the same at every context
  }
  study.records.push_back(record("m", 1024));
  study.records.back().cell.batch = 4;
  study.records.back().outcome = Outcome::failed;
  const FigureContent figure = throughput_figure(study);
  const JsonValue& y = figure.spec.at("spec").at("layer").at(0).at("encoding").at("y");
  const JsonValue domains = by_panel(y.at("scale").at("domain"));
  const JsonValue ticks = by_panel(y.at("axis").at("values"));
  EXPECT_EQ(domains.at("Decode, batch 1"), JsonValue({100 / 1.05, 105.0}));
  EXPECT_LT(domains.at("Prefill, batch 1").at(0), 48455);
  EXPECT_EQ(domains.at("Decode, batch 4"), JsonValue({100.0, 48960.0})) << "that of all";
  for (const auto& [panel, domain] : domains.items()) {
    int64_t within = 0;
    for (const JsonValue& tick : ticks.at(panel)) within += tick >= domain[0] && tick <= domain[1];
    EXPECT_GE(within, 2) << panel;
  }
}

TEST(TtftFigure, DrawsTheIntervalsOfPredictions) {
  Study study{.records = {record("m", 1024), record("m", 2048)}};
  for (Record& r : study.records) r.source = Source::predicted;
  study.records[0].metrics.ttft_s =
      Summary{.median = 0.25, .p5 = 0.2, .p95 = 0.3, .ci_low = 0.2, .ci_high = 0.3};
  study.records[1].metrics.ttft_s = Summary{.median = 0.5};
  const FigureContent figure = ttft_figure(study);
  const JsonValue predicted = row_with(figure, {{"context", 1024}});
  EXPECT_EQ(predicted["low"], 0.2);
  EXPECT_EQ(predicted["high"], 0.3);
  EXPECT_EQ(predicted["interval"], "200.0 ms \u2013 300.0 ms (predicted)");
  EXPECT_EQ(predicted["spread"], "not known");
  EXPECT_EQ(number(figure, 0, "Interval low (s)"), 0.2);
  EXPECT_TRUE(figure.table.rows[0][7].is_null()) << "no coverage";
  EXPECT_EQ(row_with(figure, {{"context", 2048}})["interval"], "not known");
}

TEST(TtftFigure, KeepsItsDomainAsItIs) {
  Study study{.records = {record("m", 1024)}};
  study.records[0].metrics.ttft_s = summary(0.25, 0.24, 0.27);
  const FigureContent figure = ttft_figure(study);
  const JsonValue& scale = figure.spec.at("layer").at(0).at("encoding").at("y").at("scale");
  EXPECT_EQ(scale.at("nice"), false) << "else to whole decades";
  EXPECT_GT(scale.at("domain").at(0), 0.2);
  EXPECT_LT(scale.at("domain").at(1), 0.33);
}

TEST(TtftFigure, SaysWhyItIsEmpty) {
  const FigureContent figure = ttft_figure({.records = {record("m", 1024)}});
  EXPECT_TRUE(figure.spec.is_null());
  EXPECT_FALSE(figure.empty.empty());
}

TEST(EveryFigure, OfAnEmptyStudySaysWhyItIsEmpty) {
  for (const Figure& figure : all_figures()) {
    const FigureContent content = figure.make({});
    EXPECT_TRUE(content.spec.is_null()) << figure.id;
    EXPECT_FALSE(content.empty.empty()) << figure.id;
    EXPECT_EQ(content.empty.find('\n'), std::string::npos) << figure.id;
  }
}

TEST(ShortLongFigure, ComparesTheEndsThatMostModelsReached) {
  Study study;
  for (const char* model : {"a", "b"})
    for (int64_t context : {1024, 4096, 16384}) {
      if (model == std::string("b") && context == 16384) continue;  // b only got to 4096
      study.records.push_back(record(model, context));
      const double s = static_cast<double>(context) / 1024;
      study.records.back().metrics.ttft_s = summary(s, s, s);
    }
  study.records.push_back(record("only short", 1024));
  study.records.back().metrics.ttft_s = summary(1, 1, 1);
  const FigureContent figure = short_long_figure(study);
  ASSERT_EQ(figure.table.rows.size(), 2U);
  EXPECT_EQ(figure.remarks,
            "Open 1K tokens, filled 4K; models without a result at both are left out.");
  EXPECT_EQ(number(figure, 0, "Long context (tokens)"), 4096);
  EXPECT_EQ(number(figure, 0, "Long / short"), 4);
  EXPECT_EQ(row_with(figure, {{"model", "a"}, {"length", "long"}})["label"], "\u00d74");
}

TEST(MemoryFigure, StacksTheHighWaterMarkAndTicksThePlan) {
  Study study{.records = {record("m", 1024), record("m", 2048)}};
  Record& ok = study.records[0];
  ok.memory.predicted[Tag::weights] = 3 * gib;
  ok.memory.predicted[Tag::kv_cache] = gib;
  ok.memory.high_water = MemoryByTag{};
  (*ok.memory.high_water)[Tag::weights] = 3 * gib;
  (*ok.memory.high_water)[Tag::kv_cache] = gib / 2;
  ok.memory.driver_bytes = gib / 4;
  ok.memory.budget_bytes = 6 * gib;
  Record& failed = study.records[1];
  failed.memory.predicted[Tag::weights] = 7 * gib;
  failed.memory.budget_bytes = 6 * gib;
  failed.outcome = Outcome::out_of_memory;
  const FigureContent figure = memory_figure(study);
  EXPECT_EQ(row_with(figure, {{"context", 1024}, {"tag", "kv_cache"}})["gib"], 0.5);
  EXPECT_EQ(row_with(figure, {{"context", 1024}, {"tag", "kv_cache"}})["basis"], "measured");
  EXPECT_EQ(row_with(figure, {{"context", 1024}, {"tag", "driver"}})["gib"], 0.25);
  EXPECT_EQ(row_with(figure, {{"context", 1024}, {"kind", "total"}})["planned"], 4);
  EXPECT_EQ(row_with(figure, {{"context", 2048}, {"tag", "weights"}})["basis"], "planned");
  EXPECT_EQ(row_with(figure, {{"kind", "budget"}})["gib"], 6);
  EXPECT_EQ(number(figure, 0, "Total (MiB)"), 3.75 * 1024);
  EXPECT_EQ(number(figure, 0, "Planned total (MiB)"), 4096);
}

TEST(MemoryFigure, LeavesOutABudgetThatWouldFlattenTheBars) {
  Study study{.records = {record("m", 1024)}};
  study.records[0].memory.predicted[Tag::weights] = 100 * mib;
  study.records[0].memory.budget_bytes = 201 * mib;
  const FigureContent figure = memory_figure(study);
  for (const JsonValue& row : values(figure)) EXPECT_NE(row["kind"], "budget");
  EXPECT_FALSE(figure.remarks.empty());
  EXPECT_EQ(number(figure, 0, "Budget (MiB)"), 201);
}

OperatorRow operator_row(Category category, Role role, double time_s, int64_t ops, int64_t bytes) {
  return {.op = "op",
          .category = category,
          .role = role,
          .calls = 1,
          .time_s = time_s,
          .ops = ops,
          .bytes_read = bytes / 2,
          .bytes_written = bytes - bytes / 2};
}

OperatorProfile profile() {
  // 2 + 3 + 4 + 0.5 + 0.5 = 10 s of wall time
  return {.passes = 3,
          .wall_s = 10,
          .gap_s = 0.5,
          .rows = {operator_row(Category::gemm, Role::qkv_proj, 2, 4'000'000'000, 1'000'000'000),
                   operator_row(Category::gemm, Role::qkv_proj, 3, 6'000'000'000, 1'500'000'000),
                   operator_row(Category::ssm_scan, Role::ssm_scan, 4, 8'000'000, 2'000'000),
                   operator_row(Category::conv, Role::conv, 0.5, 1000, 4000)}};
}

TEST(OperatorsFigure, SharesAndGapCloseToTheWholePass) {
  const GroupTimes times = group_times(profile());
  EXPECT_EQ(times.of(Group::gemm), 5);
  EXPECT_EQ(times.of(Group::ssm), 4.5);
  Study study{.records = {record("m", 1024)}};
  study.records[0].prefill = profile();
  const FigureContent figure = prefill_operators_figure(study);
  EXPECT_EQ(row_with(figure, {{"group", "gemm"}})["share"], 0.5);
  EXPECT_EQ(row_with(figure, {{"group", "ssm"}})["share"], 0.45);
  EXPECT_EQ(row_with(figure, {{"group", "gap"}})["share"], 0.05);
  EXPECT_EQ(number(figure, 0, "gemm (%)"), 50);
  EXPECT_EQ(number(figure, 0, "gap (%)"), 5);
  EXPECT_TRUE(decode_operators_figure(study).spec.is_null());
}

// Records of before a GPU's own clock was read have the host's time in every row.
TEST(OperatorsFigure, SaysWhereTheHostTimedAGpu) {
  Study study{.records = {record("m", 1024)}};
  study.records[0].prefill = profile();
  EXPECT_EQ(prefill_operators_figure(study).remarks, "");
  study.records[0].cell.device = "cuda:0";
  EXPECT_NE(prefill_operators_figure(study).remarks.find("timed by the host"), std::string::npos);
  study.records[0].prefill->device = DeviceTime{.busy_s = 10};
  EXPECT_EQ(prefill_operators_figure(study).remarks, "");
}

TEST(DevicesFigure, TakesTheLongestContextThatTwoDevicesShare) {
  Study study;
  for (const char* device : {"cpu", "cuda:0"})
    for (int64_t context : {1024, 2048, 4096}) {
      if (device == std::string("cpu") && context == 4096) continue;
      study.records.push_back(record("m", context));
      study.records.back().cell.device = device;
      study.records.back().prefill = profile();
    }
  const FigureContent figure = devices_figure(study);
  ASSERT_EQ(figure.table.rows.size(), 2U);
  EXPECT_EQ(number(figure, 0, "Context (tokens)"), 2048);
  EXPECT_EQ(number(figure, 1, "Context (tokens)"), 2048);
}

TEST(RooflineFigure, DividesSumsOverLayersByTheirTime) {
  Study study{.records = {record("m", 1024)}};
  study.records[0].prefill = profile();
  study.ceilings = {{"cpu", DType::bf16, 100e9, 10e9, "as given"}};
  const FigureContent figure = roofline_figure(study);
  const JsonValue gemm = row_with(figure, {{"role", "qkv_proj"}});
  EXPECT_EQ(gemm["intensity"], 4);  // 10e9 operations over 2.5e9 bytes
  EXPECT_EQ(gemm["gflops"], 2);     // in 5 s
  EXPECT_EQ(gemm["share"], 0.5);
  // The ridge: 100 GFLOP/s over 10 GB/s is 10 operations per byte.
  EXPECT_EQ(row_with(figure, {{"kind", "ceiling"}, {"intensity", 10.0}})["gflops"], 100);
}

TEST(PredictionFigure, PairsAPredictionForTheMachineByItsName) {
  Study study{.records = {record("m", 1024), record("m", 1024)}};
  study.records[0].metrics.ttft_s = summary(2, 2, 2);
  study.records[0].provenance.device_name = "Example GPU";
  study.records[0].cell.device = "cuda:0";
  study.records[1].source = Source::predicted;
  study.records[1].cell.device = "Example GPU";
  study.records[1].metrics.ttft_s = summary(1.5, 0, 0);
  const FigureContent figure = prediction_figure(study);
  EXPECT_EQ(row_with(figure, {{"panel", "TTFT"}})["ratio"], 0.75);
  study.records[1].cell.device = "profile";
  EXPECT_TRUE(prediction_figure(study).spec.is_null());
  study.records[1].provenance.device_name = "Example GPU 2000 with 24 GB";
  EXPECT_TRUE(prediction_figure(study).spec.is_null()) << "any model could be that";
  study.records[0].provenance.device_name = "Example GPU 2000";
  EXPECT_FALSE(prediction_figure(study).spec.is_null());
  study.records[0].provenance.device_name = "Example CPU";
  EXPECT_TRUE(prediction_figure(study).spec.is_null());
  study.same_devices = {{"Example", "profile"}, {"Example CPU", "other"}};
  EXPECT_TRUE(prediction_figure(study).spec.is_null()) << "another machine, another device";
  study.same_devices.push_back({"Example CPU", "profile"});
  EXPECT_FALSE(prediction_figure(study).spec.is_null()) << "the reader says so";
}

TEST(TimelineFigure, StacksTagsInOrder) {
  MemoryTimeline timeline{.title = "t", .points = {{0, {}}, {1, {}}}};
  timeline.points[0].bytes[Tag::weights] = 2 * mib;
  timeline.points[0].bytes[Tag::activation] = mib;
  timeline.points[1].bytes[Tag::weights] = 2 * mib;
  timeline.points[1].bytes[Tag::activation] = 3 * mib;
  const FigureContent figure = timeline_figure({.timelines = {timeline}});
  const JsonValue row = row_with(figure, {{"tag", "activation"}, {"time", 1.0}});
  EXPECT_EQ(row["low"], 2);
  EXPECT_EQ(row["high"], 5);
}

TEST(AccuracyFigure, UsesTheContextMostScoredModelsShare) {
  Study study{.records = {record("a", 1024), record("b", 1024), record("a", 2048)},
              .accuracies = {{"a", "task", 40}, {"b", "task", 50}, {"c", "task", 60}}};
  for (Record& r : study.records) r.metrics.ttft_s = summary(1, 1, 1);
  const FigureContent figure = accuracy_figure(study);
  ASSERT_EQ(figure.table.rows.size(), 2U);
  EXPECT_EQ(number(figure, 0, "Context (tokens)"), 1024);
}

TEST(EnergyFigure, GivesEnergyPerPromptToken) {
  Study study{.records = {record("m", 1024)}};
  study.records[0].cell.batch = 2;
  study.records[0].prefill_energy = Energy{.total_j = 4.096, .window_s = 1, .sensor = "s"};
  EXPECT_DOUBLE_EQ(number(energy_figure(study), 0, "Energy per prompt token (mJ)"), 2);
}

}  // namespace
}  // namespace tidemark
