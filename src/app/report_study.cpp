#include "app/report_study.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "app/crossover.h"
#include "app/limit.h"
#include "app/options.h"
#include "app/session.h"
#include "base/error.h"
#include "base/file.h"
#include "record/json.h"
#include "report/figures/series.h"
#include "store/store.h"

namespace tidemark {
namespace {

using nlohmann::ordered_json;

bool is_sqlite(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::string head(15, '\0');
  stream.read(head.data(), static_cast<std::streamsize>(head.size()));
  return head == "SQLite format 3";
}

ordered_json parse_json_file(const std::filesystem::path& file) {
  try {
    return ordered_json::parse(read_text(file));
  } catch (const ordered_json::parse_error& error) {
    fail("expected a store of results or JSON, found neither ({})", error.what());
  }
}

std::vector<std::string> split(std::string line) {
  if (!line.empty() && line.back() == '\r') line.pop_back();
  std::vector<std::string> fields(1);
  for (char c : line) {
    if (c == ',')
      fields.emplace_back();
    else
      fields.back() += c;
  }
  return fields;
}

double parse_number(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    fail("expected a number, found '{}'", printable(text));
  return value;
}

struct CrossedMetric {
  const char* name;
  std::optional<MetricPoint> (*of)(const Record&);
};

std::optional<MetricPoint> point_of(const Record& r, const std::optional<Summary>& s) {
  if (!s) return std::nullopt;
  return MetricPoint{r.cell.context, s->median, s->ci_low, s->ci_high};
}

std::optional<MetricPoint> exact_point(const Record& r, double value) {
  return MetricPoint{r.cell.context, value, value, value};
}

constexpr CrossedMetric crossed_metrics[] = {
    {"ttft", [](const Record& r) { return point_of(r, r.metrics.ttft_s); }},
    {"tpot", [](const Record& r) { return point_of(r, r.metrics.tpot_s); }},
    {"memory",
     [](const Record& r) -> std::optional<MetricPoint> {
       if (!r.memory.high_water) return std::nullopt;
       return exact_point(r, static_cast<double>(r.memory.high_water->total()));
     }},
    {"energy", [](const Record& r) -> std::optional<MetricPoint> {
       if (!r.prefill_energy) return std::nullopt;
       return exact_point(r, r.prefill_energy->total_j);
     }}};

size_t common_contexts(const std::vector<MetricPoint>& a, const std::vector<MetricPoint>& b) {
  return static_cast<size_t>(std::ranges::count_if(a, [&](const MetricPoint& p) {
    return std::ranges::any_of(b, [&](const MetricPoint& q) { return q.context == p.context; });
  }));
}

ModelCrossover crossover_of(const std::string& metric, const std::string& configuration,
                            const std::string& a, const std::vector<MetricPoint>& of_a,
                            const std::string& b, const std::vector<MetricPoint>& of_b) {
  const std::vector<Crossing> crossings = find_crossings(of_a, of_b);
  ModelCrossover found{.a = a, .b = b, .metric = metric, .configuration = configuration};
  const auto common = std::ranges::find_if(of_a, [&](const MetricPoint& p) {
    return std::ranges::any_of(of_b, [&](const MetricPoint& q) { return q.context == p.context; });
  });
  const auto its = std::ranges::find(of_b, common->context, &MetricPoint::context);
  if (crossings.empty()) {
    found.note = fmt::format("never: {} is ahead throughout", its->value < common->value ? b : a);
    return found;
  }
  // Told from the side of the one that overtakes first.
  if (!crossings.front().b_ahead) std::swap(found.a, found.b);
  for (const Crossing& c : crossings)
    found.points.push_back({c.context, c.from.value_or(static_cast<double>(of_a.front().context)),
                            c.to.value_or(static_cast<double>(of_a.back().context))});
  if (crossings.size() > 1)
    found.note = fmt::format("they cross {} times, and lead in turn", crossings.size());
  return found;
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
    with_context(file.string(), [&] {
      const ordered_json json = parse_json_file(file);
      if (json.is_array()) {
        for (const ordered_json& record : json) records.push_back(record_from_json(record));
      } else {
        records = records_from_json(json);
      }
    });
    std::erase_if(
        records, [&](const Record& r) { return commit_label(r.provenance).rfind(commit, 0) != 0; });
  }
  if (records.empty()) fail("{}: no records in it", file.string());
  return records;
}

std::vector<Accuracy> read_accuracies(const std::filesystem::path& file) {
  std::ifstream stream(file);
  if (!stream) fail("{}: cannot read it", file.string());
  std::vector<Accuracy> accuracies;
  std::string line;
  std::getline(stream, line);
  const std::vector<std::string> header = split(line);
  const auto column = [&](const std::string& name) {
    return static_cast<size_t>(std::ranges::find(header, name) - header.begin());
  };
  const size_t model = column("model"), task = column("task"), score = column("score");
  if (model == header.size() || score == header.size())
    fail("{}:1: expected a header with the columns model and score, found '{}'", file.string(),
         printable(line));
  for (int number = 2; std::getline(stream, line); ++number) {
    if (line.empty() || line == "\r") continue;
    with_context(fmt::format("{}:{}", file.string(), number), [&] {
      const std::vector<std::string> fields = split(line);
      if (fields.size() != header.size())
        fail("expected {} columns, found {}", header.size(), fields.size());
      accuracies.push_back({.model = fields[model],
                            .task = task < header.size() ? fields[task] : "",
                            .score = parse_number(fields[score])});
    });
  }
  return accuracies;
}

Ceiling parse_ceiling(const std::string& text) {
  return with_context("--ceiling", [&] {
    const std::vector<std::string> fields = split(text);
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

std::vector<ModelCrossover> crossovers_of(const std::vector<Record>& records) {
  const Study study{.records = records};
  const Configurations configurations(study);
  std::vector<ModelCrossover> crossovers;
  for (const CrossedMetric& metric : crossed_metrics) {
    // configuration -> model -> points, contexts ascending
    std::map<std::string, std::map<std::string, std::vector<MetricPoint>>> points;
    for (const Record* r : newest_records(study)) {
      if (r->source != Source::measured || r->outcome != Outcome::ok) continue;
      if (const auto point = metric.of(*r))
        points[configurations.of(r->cell)][r->cell.model].push_back(*point);
    }
    for (const auto& [configuration, models] : points)
      for (auto a = models.begin(); a != models.end(); ++a)
        for (auto b = std::next(a); b != models.end(); ++b)
          if (common_contexts(a->second, b->second) >= 2)
            crossovers.push_back(
                crossover_of(metric.name, configuration, a->first, a->second, b->first, b->second));
  }
  return crossovers;
}

std::vector<ContextLimit> limits_of(const std::vector<Record>& records, int64_t budget_bytes) {
  struct Asked {
    std::string device;
    DType dtype;
    int64_t threads;
    auto operator<=>(const Asked&) const = default;
  };
  constexpr int64_t usual_chunk = 512;
  std::map<std::string, std::set<Asked>> asked;
  std::set<int64_t> chunks;
  for (const Record& r : records) {
    if (r.source != Source::measured) continue;
    asked[r.cell.model].insert({r.cell.device, r.cell.dtype, 0});
    if (r.cell.chunk < r.cell.context) chunks.insert(r.cell.chunk);
  }
  if (chunks.empty()) chunks.insert(usual_chunk);
  chunks.insert(0);
  std::vector<ContextLimit> limits;
  for (const auto& [model, devices] : asked) {
    std::optional<ModelSpec> spec;
    try {
      spec = load_spec(model);
    } catch (const Error&) {
      continue;  // a folder that is gone, or a model of a test
    }
    for (const Asked& a : devices) {
      const auto backend = open_backend(a.device, static_cast<int>(a.threads), 0);
      const auto planned = [&](const Plan& plan) {
        return layout_memory(plan, [&](const Node& n) { return backend->workspace_bytes(n, plan); })
            .size_bytes;
      };
      for (const LogitsPolicy logits : {LogitsPolicy::all, LogitsPolicy::last})
        for (const int64_t chunk : chunks) {
          const LimitRequest request{.workload = {.chunk = chunk > 0 ? chunk : usual_chunk,
                                                  .dtype = a.dtype,
                                                  .logits = logits},
                                     .whole_chunk = chunk == 0,
                                     .budget_bytes = budget_bytes};
          const Limit limit = find_limit(*spec, request, planned);
          limits.push_back({.model = model,
                            .device = a.device,
                            .dtype = a.dtype,
                            .budget_bytes = budget_bytes,
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
