#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "app/commands.h"
#include "app/crossover.h"
#include "app/options.h"
#include "app/prediction.h"
#include "app/session.h"
#include "base/error.h"
#include "base/units.h"
#include "store/store.h"

namespace tidemark {
namespace {

struct Options {
  std::string a, b, metric = "ttft", store = "results.sqlite", on;
  std::string dtype, chunk = "512", logits, device, commit, max_context = "1m";
  int64_t batch = 0, new_tokens = 0, threads = -1;
  bool json = false;
};

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

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
    values["machine"].insert(r->provenance.device_name);
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
    if (lower(r->cell.model) == lower(model)) of_model.push_back(r);
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
  std::vector<const Record*> records;
  for (const StoredRecord& row : stored) {
    const std::string model = lower(row.record.cell.model);
    if (row.record.outcome == Outcome::ok && wanted(o, row.record.cell) &&
        (model == lower(o.a) || model == lower(o.b)))
      records.push_back(&row.record);
  }
  check_uniform(records);
  Answer answer;
  answer.a = points_of(records, o.a, o.metric);
  answer.b = points_of(records, o.b, o.metric);
  answer.crossings = find_crossings(answer.a, answer.b);
  const Record& first = *records.front();
  answer.basis =
      fmt::format("measured on {}, {}, batch {}, chunk {}, {} logits", first.provenance.device_name,
                  name(first.cell.dtype), first.cell.batch, o.chunk, name(first.cell.logits));
  return answer;
}

// Predictions for the device of --on, at contexts half an octave apart.
Answer from_predictions(const Options& o) {
  const DeviceProfile profile = load_profile(o.on);
  constexpr double from = 128, step = 1.4142135623730951;
  Workload workload{.batch = std::max<int64_t>(o.batch, 1),
                    .new_tokens = std::max<int64_t>(o.new_tokens, o.metric == "tpot" ? 2 : 1),
                    .dtype = dtype_option(o.dtype.empty() ? "bf16" : o.dtype),
                    .logits = logits_option(o.logits.empty() ? "last" : o.logits)};
  const auto points = [&](const std::string& model) {
    const ModelSpec spec = load_spec(model);
    std::vector<MetricPoint> found;
    const auto most = static_cast<double>(std::min(tokens_option("--max-context", o.max_context),
                                                   max_context(spec, workload.new_tokens)));
    for (double context = from; context <= most; context *= step) {
      Workload w = workload;
      w.context = std::llround(context);
      w.chunk = chunk_option(o.chunk, w.context);
      const Record r = predict_record(spec, profile, w);
      if (r.outcome != Outcome::ok) break;
      if (o.metric == "energy") {
        if (!r.prefill_energy) fail("--on {}: the profile has no board power", o.on);
        const Energy& e = *r.prefill_energy;
        found.push_back({w.context, e.total_j, *e.low_j, *e.high_j});
      } else {
        const Summary& s = o.metric == "ttft" ? *r.metrics.ttft_s : *r.metrics.tpot_s;
        found.push_back({w.context, s.median, s.ci_low, s.ci_high});
      }
    }
    return found;
  };
  Answer answer{.crossings = {}, .a = points(o.a), .b = points(o.b), .basis = {}};
  answer.crossings = find_crossings(answer.a, answer.b);
  answer.basis = fmt::format("predicted for {}, {}, batch {}, chunk {}, {} logits, {} to {} tokens",
                             profile.name, name(workload.dtype), workload.batch, o.chunk,
                             name(workload.logits), answer.a.front().context,
                             std::min(answer.a.back().context, answer.b.back().context));
  return answer;
}

Answer from_plans(const Options& o) {
  const ModelSpec a = load_spec(o.a), b = load_spec(o.b);
  const auto backend = open_backend(o.device.empty() ? "cpu" : o.device,
                                    std::max<int>(0, static_cast<int>(o.threads)), 0);
  Workload workload{.batch = std::max<int64_t>(o.batch, 1),
                    .new_tokens = std::max<int64_t>(o.new_tokens, 1),
                    .dtype = dtype_option(o.dtype.empty() ? "bf16" : o.dtype),
                    .logits = logits_option(o.logits.empty() ? "last" : o.logits)};
  require_support(*backend, workload.dtype);
  const bool whole = o.chunk == "whole";
  if (!whole) workload.chunk = tokens_option("--chunk", o.chunk);
  const auto of_a = planned_memory(a, workload, whole, *backend),
             of_b = planned_memory(b, workload, whole, *backend);
  const int64_t most =
      std::min({tokens_option("--max-context", o.max_context), max_context(a, workload.new_tokens),
                max_context(b, workload.new_tokens)});
  Answer answer;
  answer.crossings = find_exact_crossings(doubling_grid(1, most), of_a, of_b);
  for (const int64_t context : {int64_t{1}, most}) {
    const double value_a = of_a(context), value_b = of_b(context);
    answer.a.push_back({context, value_a, value_a, value_a});
    answer.b.push_back({context, value_b, value_b, value_b});
  }
  answer.basis = fmt::format("planned for {}, {}, batch {}, chunk {}, {} logits, 1 to {} tokens",
                             backend->info().device, name(workload.dtype), workload.batch, o.chunk,
                             name(workload.logits), most);
  return answer;
}

std::string tokens_text(double context) {
  return fmt::format("{:.0f}", context);
}

std::string interval_text(const Crossing& c, const Options& o) {
  if (o.metric == "memory") return "exactly there";
  if (c.from && c.to && *c.from == *c.to) return "no interval: single runs";
  if (o.metric == "energy" && o.on.empty()) return "no interval: one reading per context";
  return fmt::format("the intervals overlap from {} to {} tokens",
                     c.from ? tokens_text(*c.from) : "the first context",
                     c.to ? tokens_text(*c.to) : "the last context");
}

void print(const Options& o, const Answer& answer) {
  fmt::print("{} of {} (A) and {} (B), {}\n", o.metric, o.a, o.b, answer.basis);
  const auto ahead_at = [&](const MetricPoint& a) -> std::string {
    for (const MetricPoint& b : answer.b)
      if (b.context == a.context) return b.value < a.value ? o.b : o.a;
    return "?";
  };
  if (answer.crossings.empty()) {
    const auto common = std::find_if(answer.a.begin(), answer.a.end(),
                                     [&](const MetricPoint& p) { return ahead_at(p) != "?"; });
    fmt::print("They never cross: {} is ahead at every context\n", ahead_at(*common));
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
                      "Predict for this device profile instead of reading the store");
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
                   "How far memory and predictions are looked at")
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace tidemark
