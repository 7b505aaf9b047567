#include "app/compare.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "measure/stats.h"

namespace tidemark {
namespace {

// The records of one cell on one side.
using Repeats = std::vector<const Record*>;

struct Samples {
  std::vector<double> all;      // of all repeats
  std::vector<double> medians;  // of each repeat
};

using Metric = std::optional<Summary> Metrics::*;

Samples times(const Repeats& repeats, Metric metric) {
  Samples samples;
  for (const Record* record : repeats)
    if (const auto& summary = record->metrics.*metric; summary && !summary->samples.empty()) {
      samples.all.insert(samples.all.end(), summary->samples.begin(), summary->samples.end());
      samples.medians.push_back(summary->median);
    }
  return samples;
}

Samples energies(const Repeats& repeats, std::optional<Energy> Record::*phase) {
  Samples samples;
  for (const Record* record : repeats)
    if (const auto& energy = record->*phase) {
      samples.all.push_back(energy->total_j);
      samples.medians.push_back(energy->total_j);
    }
  return samples;
}

// One machine a device, of those that said what they are: a process that died may not have.
struct Side {
  std::map<std::string, Repeats> cells;
  std::map<std::string, std::string> machines;  // by device
};

Side side_of(std::span<const Record> records, std::string_view which) {
  Side side;
  for (const Record& record : records) {
    if (record.source != Source::measured) continue;
    side.cells[cell_key(record.cell)].push_back(&record);
    if (record.provenance.device_name.empty()) continue;
    const std::string machine = machine_of(record);
    const auto [known, added] = side.machines.try_emplace(record.cell.device, machine);
    if (!added && known->second != machine)
      fail("{}: {} is of two machines, '{}' and '{}' ({} at context {})", which, record.cell.device,
           known->second, machine, record.cell.model, record.cell.context);
  }
  return side;
}

void compare_samples(const Cell& cell, const char* metric, const Samples& a, const Samples& b,
                     std::vector<MetricComparison>& out) {
  if (a.all.empty() || b.all.empty()) return;
  MetricComparison c;
  c.cell = cell;
  c.metric = metric;
  c.a = median(a.all);
  c.b = median(b.all);
  c.samples_a = static_cast<int64_t>(a.all.size());
  c.samples_b = static_cast<int64_t>(b.all.size());
  const RatioInterval ratio = median_ratio(b.all, a.all, 0);
  c.ratio = ratio.ratio;
  c.low = ratio.low;
  c.high = ratio.high;
  c.p = mann_whitney(a.all, b.all).p;
  // Processes differ by more than the runs within one: repeats must agree.
  const auto [a_least, a_most] = std::minmax_element(a.medians.begin(), a.medians.end());
  const auto [b_least, b_most] = std::minmax_element(b.medians.begin(), b.medians.end());
  if (c.ratio > 1 ? *b_least <= *a_most : *b_most >= *a_least) c.note = "repeats overlap";
  out.push_back(std::move(c));
}

void compare_memory(const Cell& cell, const Repeats& a, const Repeats& b,
                    const CompareOptions& options, std::vector<MetricComparison>& out) {
  const auto bytes = [](const Record& r) {
    return static_cast<double>(r.memory.high_water.value_or(r.memory.predicted).total());
  };
  MetricComparison c;
  c.cell = cell;
  c.metric = "memory";
  c.a = bytes(*a.front());
  c.b = bytes(*b.front());
  if (c.a <= 0 || c.b <= 0) return;
  c.samples_a = c.samples_b = 1;
  c.ratio = c.low = c.high = c.b / c.a;
  c.p = c.ratio == 1 ? 1 : 0;
  if (c.ratio > 1 + options.threshold) c.verdict = Verdict::worse;
  if (c.ratio < 1 / (1 + options.threshold)) c.verdict = Verdict::better;
  out.push_back(std::move(c));
}

// Holm's step-down adjustment (Scandinavian Journal of Statistics 6, 1979): with many cells some
// differ by chance.
void adjust(std::vector<MetricComparison*> tests) {
  std::sort(tests.begin(), tests.end(), [](const auto* x, const auto* y) { return x->p < y->p; });
  double least = 0;
  for (size_t i = 0; i < tests.size(); ++i) {
    least = std::max(least, std::min(1.0, tests[i]->p * static_cast<double>(tests.size() - i)));
    tests[i]->p = least;
  }
}

Verdict verdict_of(const MetricComparison& c, const CompareOptions& options) {
  if (c.p >= options.significance || !c.note.empty()) return Verdict::same;
  if (c.low > 1 + options.threshold) return Verdict::worse;
  if (c.high < 1 / (1 + options.threshold)) return Verdict::better;
  return Verdict::same;
}

Outcome worst_outcome(const Repeats& repeats) {
  Outcome worst = Outcome::ok;
  for (const Record* record : repeats) worst = std::max(worst, record->outcome);
  return worst;
}

Repeats only_ok(const Repeats& repeats) {
  Repeats ok;
  for (const Record* record : repeats)
    if (record->outcome == Outcome::ok) ok.push_back(record);
  return ok;
}

// Whether a record of `cell` is one of `known`, which was asked for in the same words.
bool same_but_unsaid(const Cell& cell, const Cell& known) {
  if (cell.family.empty()) return true;
  Cell renamed = cell;
  renamed.model = known.model;
  return renamed == known && known.model.ends_with("/" + cell.model);
}

}  // namespace

Sides sides_of(std::vector<StoredRecord> a, std::vector<StoredRecord> b) {
  // By request the cell as one that was measured has it, with the longest name.
  std::map<std::string, Cell> known;
  for (const auto* side : {&a, &b})
    for (const StoredRecord& row : *side) {
      if (!row.place || row.record.cell.family.empty()) continue;
      Cell& cell = known.try_emplace(row.place->request, row.record.cell).first->second;
      if (same_but_unsaid(cell, row.record.cell)) cell = row.record.cell;
    }
  const auto adopted = [&](std::vector<StoredRecord>& side) {
    std::vector<Record> records;
    for (StoredRecord& row : side) {
      const auto found = row.place ? known.find(row.place->request) : known.end();
      if (found != known.end() && same_but_unsaid(row.record.cell, found->second))
        row.record.cell = found->second;
      records.push_back(std::move(row.record));
    }
    return records;
  };
  return {adopted(a), adopted(b)};
}

std::string_view name(Verdict verdict) {
  constexpr std::string_view names[] = {"same", "worse", "better"};
  return names[static_cast<size_t>(verdict)];
}

bool Comparison::any_worse() const {
  return std::any_of(metrics.begin(), metrics.end(),
                     [](const MetricComparison& c) { return c.verdict == Verdict::worse; });
}

Comparison compare(std::span<const Record> a, std::span<const Record> b,
                   const CompareOptions& options) {
  const Side side_a = side_of(a, "the first"), side_b = side_of(b, "the second");
  const auto &cells_a = side_a.cells, &cells_b = side_b.cells;
  Comparison result;
  for (const auto& [device, machine] : side_a.machines)
    if (const auto other = side_b.machines.find(device);
        other != side_b.machines.end() && other->second != machine)
      result.other_machines.push_back(
          fmt::format("{} of A is '{}', of B '{}'", device, machine, other->second));
  std::vector<MetricComparison> tested, exact;
  for (const auto& [key, all_a] : cells_a) {
    const auto found = cells_b.find(key);
    if (found == cells_b.end()) {
      ++result.only_a;
      continue;
    }
    const Repeats& all_b = found->second;
    const Cell& cell = all_a.front()->cell;
    const Outcome outcome_a = worst_outcome(all_a), outcome_b = worst_outcome(all_b);
    if (outcome_a != outcome_b) {
      MetricComparison c;
      c.cell = cell;
      c.metric = "outcome";
      c.note = fmt::format("{} -> {}", name(outcome_a), name(outcome_b));
      if (outcome_a == Outcome::ok) c.verdict = Verdict::worse;
      if (outcome_b == Outcome::ok) c.verdict = Verdict::better;
      exact.push_back(std::move(c));
    }
    const Repeats ok_a = only_ok(all_a), ok_b = only_ok(all_b);
    if (ok_a.empty() || ok_b.empty()) continue;
    compare_samples(cell, "ttft", times(ok_a, &Metrics::ttft_s), times(ok_b, &Metrics::ttft_s),
                    tested);
    compare_samples(cell, "tpot", times(ok_a, &Metrics::tpot_s), times(ok_b, &Metrics::tpot_s),
                    tested);
    compare_samples(cell, "energy", energies(ok_a, &Record::prefill_energy),
                    energies(ok_b, &Record::prefill_energy), tested);
    compare_samples(cell, "decode energy", energies(ok_a, &Record::decode_energy),
                    energies(ok_b, &Record::decode_energy), tested);
    compare_memory(cell, ok_a, ok_b, options, exact);
  }
  const auto pairs = static_cast<int64_t>(cells_a.size()) - result.only_a;
  if (pairs == 0) fail("no cell was measured on both sides");
  result.only_b = static_cast<int64_t>(cells_b.size()) - pairs;

  std::vector<MetricComparison*> tests;
  for (MetricComparison& c : tested) tests.push_back(&c);
  adjust(tests);
  for (MetricComparison& c : tested) c.verdict = verdict_of(c, options);

  result.metrics = std::move(tested);
  std::move(exact.begin(), exact.end(), std::back_inserter(result.metrics));
  std::stable_sort(result.metrics.begin(), result.metrics.end(),
                   [](const MetricComparison& x, const MetricComparison& y) {
                     return std::pair(x.cell.model, x.cell.context) <
                            std::pair(y.cell.model, y.cell.context);
                   });
  return result;
}

}  // namespace tidemark
