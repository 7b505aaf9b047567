#include "app/report_study.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "app/crossover.h"
#include "app/limit.h"
#include "app/options.h"
#include "app/session.h"
#include "base/csv.h"
#include "base/error.h"
#include "base/file.h"
#include "base/say.h"
#include "record/json.h"
#include "report/figures/series.h"
#include "store/store.h"

namespace tidemark {
namespace {

using nlohmann::ordered_json;

ordered_json parse_json_file(const std::filesystem::path& file) {
  try {
    return ordered_json::parse(read_text(file));
  } catch (const ordered_json::parse_error& error) {
    fail("expected a store of results or JSON, found neither ({})", error.what());
  }
}

// Records of one model in one configuration.
using ByModel = std::map<std::string, std::vector<const Record*>>;

// What is compared: of every cell the newest record, and those it is a repeat of.
std::map<std::string, ByModel> compared_records(const Study& study) {
  const auto repeat_of = [](const Record& r) {
    return cell_key(r.cell) + "|" + commit_label(r.provenance);
  };
  std::map<std::string, std::vector<const Record*>> repeats;
  for (const Record& r : study.records)
    if (r.source == Source::measured && r.outcome == Outcome::ok)
      repeats[repeat_of(r)].push_back(&r);
  const Configurations configurations(study);
  std::map<std::string, ByModel> compared;
  for (const Record* newest : newest_records(study)) {
    const auto found = repeats.find(repeat_of(*newest));
    if (newest->source != Source::measured || found == repeats.end()) continue;
    std::vector<const Record*>& all = compared[configurations.of(newest->cell)][newest->cell.model];
    all.insert(all.end(), found->second.begin(), found->second.end());
  }
  return compared;
}

// Null when it is not on this machine.
std::unique_ptr<Backend> backend_if_here(const std::string& device) {
  try {
    return open_backend(device, 0, 0);
  } catch (const Error&) {
    return nullptr;
  }
}

// Absent for a folder that is gone, or a model of a test.
std::optional<ModelSpec> spec_if_known(const std::string& model) {
  try {
    return load_spec(model);
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::vector<MetricPoint> high_water_points(const std::vector<const Record*>& records) {
  std::vector<MetricPoint> points;
  for (const Record* r : records) {
    if (!r->memory.high_water) continue;
    if (!points.empty() && points.back().context == r->cell.context) continue;  // a repeat
    const auto bytes = static_cast<double>(r->memory.high_water->total());
    points.push_back({r->cell.context, bytes, bytes, bytes});
  }
  return points;
}

// The contexts that both have, ascending.
std::vector<int64_t> common_contexts(const std::vector<MetricPoint>& a,
                                     const std::vector<MetricPoint>& b) {
  std::vector<int64_t> common;
  for (const MetricPoint& p : a)
    if (std::ranges::find(b, p.context, &MetricPoint::context) != b.end())
      common.push_back(p.context);
  return common;
}

// The crossings of `a` and `b` within their common contexts in words for the report.
ModelCrossover told(ModelCrossover found, const std::vector<Crossing>& crossings, bool b_ahead,
                    int64_t first, int64_t last) {
  if (crossings.empty()) {
    found.note = fmt::format("never: {} is ahead throughout", b_ahead ? found.b : found.a);
    return found;
  }
  // From the side of the one that overtakes first.
  if (!crossings.front().b_ahead) std::swap(found.a, found.b);
  for (const Crossing& c : crossings)
    found.points.push_back({c.context, c.from.value_or(static_cast<double>(first)),
                            c.to.value_or(static_cast<double>(last))});
  if (crossings.size() > 1)
    found.note += fmt::format("{}they cross {} times, and lead in turn",
                              found.note.empty() ? "" : "; ", crossings.size());
  return found;
}

// `names` has the two models, the metric and the configuration.
std::optional<ModelCrossover> measured_crossover(ModelCrossover names,
                                                 const std::vector<MetricPoint>& a,
                                                 const std::vector<MetricPoint>& b) {
  const std::vector<int64_t> common = common_contexts(a, b);
  if (common.size() < 2) return std::nullopt;
  const double first_a = std::ranges::find(a, common[0], &MetricPoint::context)->value;
  const double first_b = std::ranges::find(b, common[0], &MetricPoint::context)->value;
  const std::vector<Crossing> crossings = find_crossings(a, b);
  for (const Crossing& c : crossings)
    if (c.from && c.to && *c.from == *c.to && names.note.empty())
      names.note = "no interval: single runs";
  return told(names, crossings, first_b < first_a, common.front(), common.back());
}

// From the plans where both models and the device are at hand: exact. Else between the high-water
// marks.
std::optional<ModelCrossover> memory_crossover(ModelCrossover names,
                                               const std::vector<const Record*>& a,
                                               const std::vector<const Record*>& b) {
  const std::vector<MetricPoint> of_a = high_water_points(a), of_b = high_water_points(b);
  const std::vector<int64_t> common = common_contexts(of_a, of_b);
  if (common.size() < 2) return std::nullopt;
  const Cell& cell =
      (*std::ranges::max_element(a, {}, [](const Record* r) { return r->cell.context; }))->cell;
  const std::optional<ModelSpec> spec_a = spec_if_known(names.a), spec_b = spec_if_known(names.b);
  const auto backend = backend_if_here(cell.device);
  if (!spec_a || !spec_b || !backend) {
    names.note = "between the measured contexts";
    return measured_crossover(names, of_a, of_b);
  }
  const Workload workload{.batch = cell.batch,
                          .new_tokens = cell.new_tokens,
                          .chunk = cell.chunk,
                          .dtype = cell.dtype,
                          .logits = cell.logits};
  const bool whole = cell.chunk >= cell.context;
  const MemoryOf memory_of = [&](const Plan& plan) { return memory_on(*backend, plan); };
  const MetricAt plan_a = memory_metric(*spec_a, workload, whole, memory_of),
                 plan_b = memory_metric(*spec_b, workload, whole, memory_of);
  const int64_t first = common.front(), last = common.back();
  names.note = "exact, from the plans";
  return told(names, find_exact_crossings(half_octaves(first, last), plan_a, plan_b),
              plan_b(first).value < plan_a(first).value, first, last);
}

}  // namespace

std::vector<Record> read_study_records(const std::filesystem::path& file,
                                       const std::string& commit) {
  if (!std::filesystem::exists(file)) fail("{}: no such file", file.string());
  std::vector<Record> records;
  if (is_sqlite(file)) {
    Filter filter;
    if (!commit.empty()) filter.commit = commit;
    for (StoredRecord& stored : read_records(Store(file), filter))
      records.push_back(std::move(stored.record));
  } else {
    with_context(file.string(), [&] { records = records_from_json(parse_json_file(file)); });
    const bool exact = std::ranges::any_of(
        records, [&](const Record& r) { return commit_label(r.provenance) == commit; });
    std::erase_if(records, [&](const Record& r) {
      const std::string label = commit_label(r.provenance);
      return exact ? label != commit : !label.starts_with(commit);
    });
  }
  if (records.empty()) fail("{}: no records in it", file.string());
  return records;
}

void tell_machines_apart(std::vector<Record>& records) {
  std::map<std::string, std::set<std::string>> machines;  // by device, of those that said it
  const auto measured_on = [](const Record& r) {
    return r.source == Source::measured ? machine_of(r) : std::string();
  };
  for (const Record& r : records)
    if (const std::string machine = measured_on(r); !machine.empty())
      machines[r.cell.device].insert(machine);
  for (Record& r : records)
    if (const std::string machine = measured_on(r);
        !machine.empty() && machines[r.cell.device].size() > 1)
      r.cell.device += " (" + machine + ")";
}

std::vector<Accuracy> read_accuracies(const std::filesystem::path& file) {
  const Csv csv = read_csv(file);
  if (!has_column(csv, "model") || !has_column(csv, "score"))
    fail("{}:1: expected a header with the columns model and score, found '{}'", csv.file,
         printable(fmt::format("{}", fmt::join(csv.columns, ","))));
  std::vector<Accuracy> accuracies;
  for (const CsvRow& row : csv.rows)
    accuracies.push_back({.model = text_at(csv, row, "model"),
                          .task = has_column(csv, "task") ? text_at(csv, row, "task") : "",
                          .score = number_at(csv, row, "score")});
  return accuracies;
}

Ceiling parse_ceiling(const std::string& text) {
  return with_context("--ceiling", [&] {
    const std::vector<std::string> fields = split_fields(text);
    if (fields.size() != 4) fail("expected DEVICE,DTYPE,GFLOP/s,GB/s, found '{}'", printable(text));
    Ceiling ceiling{.device = fields[0],
                    .dtype = dtype_option(fields[1]),
                    .ops_per_s = 1e9 * parse_number(fields[2]),
                    .bytes_per_s = 1e9 * parse_number(fields[3]),
                    .source = "as given"};
    if (ceiling.ops_per_s <= 0 || ceiling.bytes_per_s <= 0)
      fail("expected numbers above 0, found '{}'", printable(text));
    return ceiling;
  });
}

SameDevice parse_same_device(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == text.npos || equals == 0 || equals + 1 == text.size())
    fail("--same-device: expected MACHINE=DEVICE, found '{}'", printable(text));
  return {.machine = text.substr(0, equals), .device = text.substr(equals + 1)};
}

std::vector<ModelCrossover> crossovers_of(const std::vector<Record>& records) {
  const Study study{.records = records};
  const std::map<std::string, ByModel> compared = compared_records(study);
  std::vector<ModelCrossover> crossovers;
  for (const char* metric : {"ttft", "tpot", "memory", "energy"})
    for (const auto& [configuration, models] : compared)
      for (auto a = models.begin(); a != models.end(); ++a)
        for (auto b = std::next(a); b != models.end(); ++b) {
          const ModelCrossover names{
              .a = a->first, .b = b->first, .metric = metric, .configuration = configuration};
          auto found = names.metric == "memory"
                           ? memory_crossover(names, a->second, b->second)
                           : measured_crossover(names, metric_points(a->second, metric),
                                                metric_points(b->second, metric));
          if (found) crossovers.push_back(std::move(*found));
        }
  return crossovers;
}

std::vector<ContextLimit> limits_of(const std::vector<Record>& records, int64_t budget_bytes) {
  constexpr int64_t usual_chunk = 512;
  std::map<std::string, std::set<std::pair<std::string, DType>>> asked;  // model: device, dtype
  std::map<std::string, std::unique_ptr<Backend>> backends;
  std::set<int64_t> chunks, budgets = {budget_bytes};
  for (const Record& r : records) {
    if (r.source != Source::measured) continue;
    asked[r.cell.model].insert({r.cell.device, r.cell.dtype});
    if (r.cell.chunk < r.cell.context) chunks.insert(r.cell.chunk);
    if (r.cell.memory_limit_bytes > 0) budgets.insert(r.cell.memory_limit_bytes);
    if (!backends.contains(r.cell.device)) backends[r.cell.device] = backend_if_here(r.cell.device);
  }
  for (const auto& [device, backend] : backends)
    if (!backend) say("tidemark: no {} here, so limits on it are not planned", device);
  if (chunks.empty()) chunks.insert(usual_chunk);
  chunks.insert(0);
  std::vector<ContextLimit> limits;
  for (const auto& [model, devices] : asked) {
    const std::optional<ModelSpec> spec = spec_if_known(model);
    if (!spec) continue;
    for (const auto& [device, dtype] : devices) {
      const Backend* backend = backends.at(device).get();
      if (!backend) continue;
      const auto planned = [&](const Plan& plan) { return memory_on(*backend, plan); };
      for (const int64_t budget : budgets)
        for (const LogitsPolicy logits : {LogitsPolicy::all, LogitsPolicy::last})
          for (const int64_t chunk : chunks) {
            const LimitRequest request{.workload = {.chunk = chunk > 0 ? chunk : usual_chunk,
                                                    .dtype = dtype,
                                                    .logits = logits},
                                       .whole_chunk = chunk == 0,
                                       .budget_bytes = budget};
            const Limit limit = find_limit(*spec, request, planned);
            limits.push_back({.model = model,
                              .device = device,
                              .dtype = dtype,
                              .budget_bytes = budget,
                              .logits = logits,
                              .chunk = chunk,
                              .context = limit.context,
                              .broken_by = limit.broken_by});
          }
    }
  }
  return limits;
}

}  // namespace tidemark
