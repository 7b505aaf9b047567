#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "app/commands.h"
#include "app/crossover.h"
#include "app/limit.h"
#include "app/options.h"
#include "app/prediction.h"
#include "app/session.h"
#include "base/error.h"
#include "base/units.h"
#include "report/model_names.h"
#include "store/store.h"

namespace tidemark {
namespace {

struct Options {
  std::string a, b, metric = "ttft", store = "results.sqlite", on;
  std::string engine = "own", dtype, chunk = "512", logits, device, commit, max_context = "1m";
  int64_t batch = 0, new_tokens = 0, threads = -1;
  bool json = false;
};

bool wanted(const Options& o, const Cell& c) {
  // A context within one chunk is a whole pass, whose chunk counts the model's meta tokens too.
  const bool whole = c.chunk >= c.context;
  const int64_t chunk = o.chunk == "whole" ? 0 : tokens_option("--chunk", o.chunk);
  const bool chunk_fits = whole ? chunk == 0 || c.context <= chunk : c.chunk == chunk;
  return chunk_fits && (o.dtype.empty() || name(c.dtype) == o.dtype) &&
         (o.logits.empty() || name(c.logits) == o.logits) &&
         (o.device.empty() || c.device == o.device) && (o.batch == 0 || c.batch == o.batch) &&
         (o.new_tokens == 0 || c.new_tokens == o.new_tokens) &&
         (o.threads < 0 || c.threads == o.threads);
}

// Fails when records that are about to be read as one curve differ in more than their context.
void check_uniform(const std::vector<const Record*>& records) {
  std::map<std::string, std::set<std::string>> values;
  for (const Record* r : records) {
    const Cell& c = r->cell;
    values["--dtype"].insert(std::string(name(c.dtype)));
    values["--logits"].insert(std::string(name(c.logits)));
    values["--device"].insert(c.device);
    values["--batch"].insert(fmt::format("{}", c.batch));
    values["--new-tokens"].insert(fmt::format("{}", c.new_tokens));
    values["--threads"].insert(fmt::format("{}", c.threads));
    values["--commit"].insert(commit_label(r->provenance));
    values["machine"].insert(machine_of(*r));
    values["memory limit"].insert(format_bytes(c.memory_limit_bytes));
  }
  for (const auto& [option, found] : values)
    if (found.size() > 1)
      fail("the records differ in {}: {}; say which, or take them from a store of their own",
           option, fmt::join(found, ", "));
}

std::vector<MetricPoint> points_of(const std::vector<const Record*>& records,
                                   const std::string& model, const std::string& metric) {
  std::vector<const Record*> of_model;
  for (const Record* r : records)
    if (r->cell.model == model) of_model.push_back(r);
  std::vector<MetricPoint> points = metric_points(of_model, metric);
  if (points.empty()) fail("{}: no {} of it among the records", model, metric);
  return points;
}

struct Answer {
  std::vector<Crossing> crossings;
  std::vector<MetricPoint> a, b;  // what they were found in
  std::string basis;              // in words
};

Answer from_records(const Options& o) {
  const Store store(o.store);
  Filter filter{.source = Source::measured};
  if (!o.commit.empty()) filter.commit = o.commit;
  const std::vector<StoredRecord> stored = read_records(store, filter);
  const std::set<std::string> models = models_of(store);
  const std::string a = model_meant(o.a, models).value_or(o.a);
  const std::string b = model_meant(o.b, models).value_or(o.b);
  std::vector<const Record*> records;
  for (const StoredRecord& row : stored) {
    const std::string& model = row.record.cell.model;
    if (row.record.outcome == Outcome::ok && wanted(o, row.record.cell) &&
        (model == a || model == b))
      records.push_back(&row.record);
  }
  check_uniform(records);
  Answer answer;
  answer.a = points_of(records, a, o.metric);
  answer.b = points_of(records, b, o.metric);
  answer.crossings = find_crossings(answer.a, answer.b);
  const Record& first = *records.front();
  answer.basis =
      fmt::format("measured on {}, {}, batch {}, chunk {}, {} logits", first.provenance.device_name,
                  name(first.cell.dtype), first.cell.batch, o.chunk, name(first.cell.logits));
  return answer;
}

Workload planned_workload(const Options& o, int64_t least_new_tokens) {
  return {.batch = std::max<int64_t>(o.batch, 1),
          .new_tokens = std::max(o.new_tokens, least_new_tokens),
          .chunk = o.chunk == "whole" ? Workload{}.chunk : tokens_option("--chunk", o.chunk),
          .dtype = dtype_option(o.dtype.empty() ? "bf16" : o.dtype),
          .logits = logits_option(o.logits.empty() ? "last" : o.logits)};
}

// Two models that can be asked at any context, and how far.
struct Pair {
  ModelSpec a, b;
  Workload workload;
  EngineModel engine = EngineModel::own;
  bool whole = false;
  int64_t last = 0;  // the largest context of both
};

// As far as both models and --max-context reach.
Pair pair_of(const Options& o, int64_t least_new_tokens) {
  Pair pair{.a = load_spec(o.a),
            .b = load_spec(o.b),
            .workload = planned_workload(o, least_new_tokens),
            .whole = o.chunk == "whole"};
  pair.last = std::min({tokens_option("--max-context", o.max_context),
                        max_context(pair.a, pair.workload), max_context(pair.b, pair.workload)});
  pair.last = std::max<int64_t>(1, pair.last);  // where there is none, a plan says why
  return pair;
}

MemoryOf memory_on(const DeviceProfile& profile, const ModelSpec& spec, EngineModel engine) {
  return [&, engine](const Plan& plan) { return predicted_memory(spec, plan, engine, profile); };
}

// And no further than both fit the device.
Pair pair_on(const Options& o, const DeviceProfile& profile, int64_t least_new_tokens) {
  if (!o.device.empty()) fail("crossover: expected --on or --device, found both");
  Pair pair = pair_of(o, least_new_tokens);
  pair.engine = engine_option(o.engine);
  for (const ModelSpec* spec : {&pair.a, &pair.b})
    require_known(pair.engine, *spec, pair.workload.dtype);
  if (pair.engine == EngineModel::eager_full) {
    pair.workload = eager_workload(pair.workload);
    pair.whole = true;
  }
  const auto bytes = static_cast<int64_t>(profile.memory_bytes.value);
  for (const ModelSpec* spec : {&pair.a, &pair.b}) {
    const Limit limit = find_limit(
        *spec, {.workload = pair.workload, .whole_chunk = pair.whole, .budget_bytes = bytes},
        memory_on(profile, *spec, pair.engine));
    if (limit.context == 0)
      fail("{} does not fit {}: one token takes {}, it has {}", spec->name, profile.name,
           format_bytes(limit.beyond.total()), format_bytes(bytes));
    pair.last = std::min(pair.last, limit.context);
  }
  return pair;
}

std::string title_on(const DeviceProfile& profile, const Pair& pair) {
  const std::string missing = missing_kernels(profile.kind, pair.workload.dtype);
  const std::string engine =
      pair.engine == EngineModel::own ? "" : fmt::format(", engine model {}", name(pair.engine));
  return fmt::format("{} ({} profile{}{}{})", profile.name, name(profile.origin),
                     missing.empty() ? "" : ", ", missing, engine);
}

// What of the two is priced as other kernels, each after "; ".
std::string others_of(const DeviceProfile& profile, const Pair& pair) {
  std::string text;
  if (pair.engine != EngineModel::own) return text;
  for (const ModelSpec* spec : {&pair.a, &pair.b}) {
    Plan plan = plan_at(*spec, {.workload = pair.workload, .whole_chunk = pair.whole}, pair.last);
    choose_forms(plan, profile);
    if (const std::string others = priced_as_others(plan, profile); !others.empty())
      text += fmt::format("; {} {}", spec->name, others);
  }
  return text;
}

// From the first token on, and to the token.
Answer computed(const Options& o, const Pair& pair, const MetricAt& a, const MetricAt& b,
                std::string_view how) {
  const std::vector<int64_t> grid = half_octaves(1, pair.last);
  Answer answer;
  answer.crossings = find_exact_crossings(grid, a, b);
  for (const int64_t context : {grid.front(), grid.back()}) {
    answer.a.push_back(a(context));
    answer.b.push_back(b(context));
  }
  answer.basis = fmt::format("{}, {}, batch {}, chunk {}, {} logits, 1 to {} tokens", how,
                             name(pair.workload.dtype), pair.workload.batch,
                             pair.whole ? "whole" : o.chunk, name(pair.workload.logits), pair.last);
  return answer;
}

Answer from_predictions(const Options& o) {
  DeviceProfile profile = load_profile(o.on);
  if (o.metric == "energy" && !profile.board_w)
    fail("--on {}: the profile has no board power", o.on);
  const Pair pair = pair_on(o, profile, o.metric == "tpot" ? 2 : 1);
  profile.memory_bytes.value = 1e18;  // up to where both end there is enough
  const auto metric_of = [&](const ModelSpec& spec) -> MetricAt {
    return [&](int64_t context) -> MetricPoint {
      Workload w = pair.workload;
      w.context = context;
      if (pair.whole) w.chunk = context;
      const Record r = predict_record(spec, profile, w, {.engine = pair.engine});
      if (o.metric == "energy") {
        const Energy& e = *r.prefill_energy;
        return {context, e.total_j, *e.low_j, *e.high_j};
      }
      const Summary& s = o.metric == "ttft" ? *r.metrics.ttft_s : *r.metrics.tpot_s;
      return {context, s.median, s.ci_low, s.ci_high};
    };
  };
  return computed(
      o, pair, metric_of(pair.a), metric_of(pair.b),
      fmt::format("predicted for {}{}", title_on(profile, pair), others_of(profile, pair)));
}

// Of the device of --on, or of one that is here.
Answer from_plans(const Options& o) {
  if (!o.on.empty()) {
    const DeviceProfile profile = load_profile(o.on);
    const Pair pair = pair_on(o, profile, 1);
    const auto metric_of = [&](const ModelSpec& spec) {
      return memory_metric(spec, pair.workload, pair.whole, memory_on(profile, spec, pair.engine));
    };
    return computed(o, pair, metric_of(pair.a), metric_of(pair.b),
                    fmt::format("planned for {}{}", title_on(profile, pair),
                                pair.engine == EngineModel::eager_full ? ""
                                : profile.kind == DeviceKind::gpu
                                    ? " with the scratch memory of the cuda backend"
                                    : " with the scratch memory of this machine's processor"));
  }
  const Pair pair = pair_of(o, 1);
  const auto backend = open_backend(o.device.empty() ? "cpu" : o.device,
                                    std::max<int>(0, static_cast<int>(o.threads)), 0);
  require_support(*backend, pair.workload.dtype);
  const auto metric_of = [&](const ModelSpec& spec) {
    return memory_metric(spec, pair.workload, pair.whole,
                         [&](const Plan& plan) { return memory_on(*backend, plan); });
  };
  return computed(
      o, pair, metric_of(pair.a), metric_of(pair.b),
      fmt::format("planned with the scratch memory of this machine's {}", backend->info().device));
}

std::string tokens_text(double context) {
  return fmt::format("{:.0f}", context);
}

std::string interval_text(const Crossing& c, const Options& o) {
  if (o.metric == "memory") return "exactly there";
  if (c.from && c.to && *c.from == *c.to) return "no interval: single runs";
  return fmt::format("the intervals overlap from {} to {}",
                     c.from ? tokens_text(*c.from) + " tokens" : "the first context",
                     c.to ? tokens_text(*c.to) + " tokens" : "the last context");
}

void print(const Options& o, const Answer& answer) {
  fmt::print("{} of {} (A) and {} (B), {}\n", o.metric, o.a, o.b, answer.basis);
  const auto ahead_at = [&](const MetricPoint& a) -> std::string {
    for (const MetricPoint& b : answer.b)
      if (b.context == a.context) return b.value < a.value ? o.b : o.a;
    return "?";
  };
  if (answer.crossings.empty()) {
    std::vector<MetricPoint> common = answer.a;
    std::erase_if(common, [&](const MetricPoint& p) { return ahead_at(p) == "?"; });
    fmt::print("They never cross: {} is ahead from {} to {} tokens\n", ahead_at(common.front()),
               common.front().context, common.back().context);
    return;
  }
  if (answer.crossings.size() > 1) fmt::print("They cross {} times:\n", answer.crossings.size());
  for (const Crossing& c : answer.crossings)
    fmt::print("{} overtakes {} at {} tokens ({})\n", c.b_ahead ? o.b : o.a, c.b_ahead ? o.a : o.b,
               tokens_text(c.context), interval_text(c, o));
}

nlohmann::ordered_json to_json(const Options& o, const Answer& answer) {
  nlohmann::ordered_json crossings = nlohmann::ordered_json::array();
  for (const Crossing& c : answer.crossings) {
    nlohmann::ordered_json row = {{"context", c.context},
                                  {"ahead_after", c.b_ahead ? o.b : o.a},
                                  {"between", {c.before, c.after}}};
    if (c.from) row["overlap_from"] = *c.from;
    if (c.to) row["overlap_to"] = *c.to;
    crossings.push_back(std::move(row));
  }
  return {{"a", o.a},
          {"b", o.b},
          {"metric", o.metric},
          {"basis", answer.basis},
          {"crossings", std::move(crossings)}};
}

int run(const Options& options) {
  if (options.on.empty() && engine_option(options.engine) != EngineModel::own)
    fail("--engine-model {}: expected --on beside it", options.engine);
  const Answer answer = options.metric == "memory" ? from_plans(options)
                        : options.on.empty()       ? from_records(options)
                                                   : from_predictions(options);
  if (options.json) {
    fmt::print("{}\n", to_json(options, answer).dump(2));
  } else {
    print(options, answer);
  }
  return exit_ok;
}

}  // namespace

void add_crossover_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("crossover", "Find the context at which model B overtakes model A");
  command->add_option("model_a", options->a, "The one ahead at short contexts, say")->required();
  command->add_option("model_b", options->b, "The other")->required();
  command
      ->add_option("--metric", options->metric, "ttft, tpot, energy (measured) or memory (planned)")
      ->check(CLI::IsMember({"ttft", "tpot", "memory", "energy"}))
      ->capture_default_str();
  command->add_option("--on", options->on,
                      "Predict or plan for this device profile instead of reading the store");
  command
      ->add_option("--engine-model", options->engine, "With --on: own or eager-full, as in predict")
      ->capture_default_str();
  command->add_option("--store", options->store, "Store of measurements")->capture_default_str();
  command->add_option("--chunk", options->chunk, "Prefill tokens per step, or whole")
      ->capture_default_str();
  command->add_option("--dtype", options->dtype,
                      "Only f32, bf16, w8a16 or w8a8; memory: bf16 by default");
  command->add_option("--logits", options->logits, "Only last or all; memory: last by default");
  command->add_option("--device", options->device, "Only this device; memory: cpu by default");
  command->add_option("--batch", options->batch, "Only this batch; memory: 1 by default");
  command->add_option("--new-tokens", options->new_tokens,
                      "Only this many output tokens; memory: 1 by default");
  command->add_option("--threads", options->threads, "Only this many threads");
  command->add_option("--commit", options->commit, "Only this commit, or its beginning");
  command
      ->add_option("--max-context", options->max_context,
                   "How far memory and predictions are looked at, if both models fit the device")
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace tidemark
