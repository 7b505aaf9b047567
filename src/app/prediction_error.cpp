#include "app/prediction_error.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "app/prediction.h"
#include "base/csv.h"
#include "base/error.h"
#include "base/quantile.h"
#include "model/load.h"
#include "report/text.h"

namespace tidemark {
namespace {

constexpr double mib = 1024.0 * 1024.0;

// One row of a published table, with its prediction.
struct Published {
  std::string device, model;
  int64_t batch = 1, context = 0, new_tokens = 1;
};

class Predictor {
 public:
  // nullptr, with a line in `skipped`, for a model or device that is not known here.
  const Record* predict(const Published& cell, ErrorTable& table) {
    const std::string key = fmt::format("{}|{}|{}|{}|{}", cell.device, cell.model, cell.batch,
                                        cell.context, cell.new_tokens);
    const auto [at, fresh] = records_.try_emplace(key);
    if (fresh) {
      try {
        const ModelSpec spec = load_spec(cell.model);
        DeviceProfile profile = load_profile(cell.device);
        // What was measured did fit, or has a plan to compare all the same.
        profile.memory_bytes.value = 1e15;
        at->second = predict_record(spec, profile,
                                    {.batch = cell.batch,
                                     .context = cell.context,
                                     .new_tokens = cell.new_tokens,
                                     .dtype = DType::bf16},
                                    {.engine = EngineModel::eager_full});
      } catch (const Error& error) {
        table.skipped.push_back(
            fmt::format("{} on {} at {}: {}", cell.model, cell.device, cell.context, error.what()));
      }
    }
    return at->second ? &*at->second : nullptr;
  }

 private:
  std::map<std::string, std::optional<Record>> records_;
};

void add_time(ErrorTable& table, const ErrorRow& row, const std::optional<Summary>& predicted) {
  if (!predicted) return;
  table.rows.push_back(row);
  table.rows.back().predicted = predicted->median;
  table.rows.back().low = predicted->ci_low;
  table.rows.back().high = predicted->ci_high;
}

double memory_mib(const Record& record) {
  return static_cast<double>(record.memory.predicted.total()) / mib;
}

std::string value_text(const ErrorRow& row, double value) {
  if (row.quantity == "memory") return fmt::format("{:.0f} MiB", value);
  if (row.quantity == "energy") return number_text(value) + " J";
  return time_text(value);
}

std::string title_of(const ErrorRow& row) {
  return row.cell.empty() ? row.quantity : fmt::format("{}, {}", row.quantity, row.cell);
}

template <class Use>
void each_pair(const std::vector<ErrorRow>& rows, double tie, Use&& use) {
  for (size_t i = 0; i < rows.size(); ++i)
    for (size_t k = i + 1; k < rows.size(); ++k) {
      const ErrorRow &a = rows[i], &b = rows[k];
      if (a.quantity != b.quantity || a.device != b.device || a.context != b.context ||
          a.cell != b.cell || a.model == b.model)
        continue;
      if (std::abs(std::log(a.measured / b.measured)) <= tie) continue;
      use(a, b, (a.measured < b.measured) == (a.predicted < b.predicted));
    }
}

}  // namespace

ErrorTable against_published(const std::filesystem::path& file) {
  const Csv csv = read_csv(file);
  ErrorTable table;
  Predictor predictor;
  for (const CsvRow& line : csv.rows) {
    if (has_column(csv, "operator") && text_at(csv, line, "operator") != "inference_prof") continue;
    const auto count_at = [&](const char* column) {
      return has_column(csv, column) ? integer_at(csv, line, column) : 1;
    };
    const Published cell{text_at(csv, line, "device"), text_at(csv, line, "model"),
                         count_at("batch"), integer_at(csv, line, "context_tokens"),
                         count_at("new_tokens")};
    const Record* r = predictor.predict(cell, table);
    if (!r) continue;
    const auto row = [&](std::string quantity, std::string what, double measured) {
      if (cell.batch != 1) what += fmt::format("{}batch {}", what.empty() ? "" : ", ", cell.batch);
      return ErrorRow{.quantity = std::move(quantity),
                      .device = cell.device,
                      .model = cell.model,
                      .context = cell.context,
                      .cell = std::move(what),
                      .measured = measured};
    };
    if (has_column(csv, "total_mib")) {
      table.rows.push_back(row("memory", "", number_at(csv, line, "total_mib")));
      table.rows.back().predicted = memory_mib(*r);
    } else if (has_column(csv, "ttft_s")) {
      add_time(table, row("TTFT", "", number_at(csv, line, "ttft_s")), r->metrics.ttft_s);
      if (has_column(csv, "tpot_s"))
        add_time(table, row("TPOT", "", number_at(csv, line, "tpot_s")), r->metrics.tpot_s);
    } else if (has_column(csv, "prefill_j")) {
      if (!r->prefill_energy) continue;
      const Energy& e = *r->prefill_energy;
      table.rows.push_back(row("energy", "", number_at(csv, line, "prefill_j")));
      table.rows.back().predicted = e.total_j;
      table.rows.back().low = e.low_j;
      table.rows.back().high = e.high_j;
    } else if (has_column(csv, "host_us_per_pass")) {
      add_time(table, row("TTFT", "profiled", number_at(csv, line, "host_us_per_pass") * 1e-6),
               r->metrics.ttft_s);
    } else {
      fail("{}: expected a column total_mib, ttft_s, prefill_j or host_us_per_pass", csv.file);
    }
  }
  return table;
}

ErrorTable against_records(const std::vector<Record>& measured, const DeviceProfile& profile) {
  ErrorTable table;
  for (const Record& m : measured) {
    if (m.source != Source::measured || m.outcome != Outcome::ok) continue;
    const Cell& c = m.cell;
    Record p;
    try {
      p = predict_record(load_spec(c.model), profile,
                         {.batch = c.batch,
                          .context = c.context,
                          .new_tokens = c.new_tokens,
                          .chunk = c.chunk,
                          .dtype = c.dtype,
                          .logits = c.logits});
    } catch (const Error& error) {
      table.skipped.push_back(error.what());
      continue;
    }
    const auto row = [&](std::string quantity, double value) {
      return ErrorRow{
          .quantity = std::move(quantity),
          .device = profile.name,
          .model = c.model,
          .context = c.context,
          .cell = fmt::format("{}, batch {}, chunk {}", name(c.dtype), c.batch, c.chunk),
          .measured = value};
    };
    if (m.metrics.ttft_s) add_time(table, row("TTFT", m.metrics.ttft_s->median), p.metrics.ttft_s);
    if (m.metrics.tpot_s) add_time(table, row("TPOT", m.metrics.tpot_s->median), p.metrics.tpot_s);
    // A processor's scratch depends on libraries and threads of the machine; all else is the
    // plan's.
    if (m.memory.high_water) {
      const auto counted = [&](const MemoryByTag& memory) {
        const int64_t scratch = profile.kind == DeviceKind::cpu ? memory[Tag::workspace] : 0;
        return static_cast<double>(memory.total() - scratch) / mib;
      };
      table.rows.push_back(row("memory", counted(*m.memory.high_water)));
      table.rows.back().predicted = counted(p.memory.predicted);
    }
  }
  return table;
}

std::vector<ErrorSummary> summarize(const ErrorTable& table, int64_t min_context, double tie) {
  std::map<std::string, std::vector<ErrorRow>> groups;
  for (const ErrorRow& row : table.rows)
    if (row.context >= min_context)
      groups[row.quantity + (row.cell.starts_with("profiled") ? " (profiled)" : "")].push_back(row);
  std::vector<ErrorSummary> summaries;
  for (const auto& [quantity, rows] : groups) {
    ErrorSummary s{.quantity = quantity, .cells = rows.size()};
    std::vector<double> errors;
    for (const ErrorRow& row : rows) {
      errors.push_back(std::abs(row.error()));
      if (row.low && *row.low <= row.measured && row.measured <= *row.high) ++s.inside;
    }
    s.median = median(errors);
    s.worst = *std::max_element(errors.begin(), errors.end());
    each_pair(rows, tie, [&](const ErrorRow&, const ErrorRow&, bool right) {
      ++s.pairs;
      if (right) ++s.ordered;
    });
    summaries.push_back(std::move(s));
  }
  return summaries;
}

std::string error_markdown(const ErrorTable& table) {
  std::string text;
  for (const int64_t least : {int64_t{0}, int64_t{4096}}) {
    text += fmt::format("\n## {}\n\n", least == 0 ? std::string("All cells")
                                                  : fmt::format("From {} tokens up", least));
    text +=
        "| quantity | cells | median error | worst | inside the interval | pairs of models in "
        "the right order |\n|---|---:|---:|---:|---:|---:|\n";
    for (const ErrorSummary& s : summarize(table, least))
      text += fmt::format("| {} | {} | {} | {} | {} | {} |\n", s.quantity, s.cells,
                          percent_text(s.median), percent_text(s.worst),
                          s.quantity == "memory" ? "–" : fmt::format("{}", s.inside),
                          s.pairs == 0 ? "–" : fmt::format("{} of {}", s.ordered, s.pairs));
  }
  std::string wrong;
  each_pair(table.rows, 0.02, [&](const ErrorRow& a, const ErrorRow& b, bool right) {
    if (!right)
      wrong += fmt::format("- {} at {} on {}: {} and {}\n", title_of(a), a.context, a.device,
                           a.model, b.model);
  });
  if (!wrong.empty()) text += "\n## Pairs in the wrong order\n\n" + wrong;
  if (!table.skipped.empty()) {
    text += "\n## Not predicted\n\n";
    for (const std::string& line : table.skipped) text += fmt::format("- {}\n", line);
  }
  text += "\n## Every cell\n";
  std::string last;
  std::vector<ErrorRow> rows = table.rows;  // those of one table together, in the order they came
  std::stable_sort(rows.begin(), rows.end(), [](const ErrorRow& a, const ErrorRow& b) {
    return std::tie(a.quantity, a.cell, a.device) < std::tie(b.quantity, b.cell, b.device);
  });
  for (const ErrorRow& row : rows) {
    const std::string title = fmt::format("{} on {}", title_of(row), row.device);
    if (title != last)
      text += fmt::format(
          "\n### {}\n\n| model | context | measured | predicted | interval | error "
          "|\n|---|---:|---:|---:|---|---:|\n",
          title);
    last = title;
    text += fmt::format(
        "| {} | {} | {} | {} | {} | {:+.1f} % |\n", row.model, row.context,
        value_text(row, row.measured), value_text(row, row.predicted),
        row.low ? fmt::format("{} – {}", value_text(row, *row.low), value_text(row, *row.high))
                : "",
        100 * row.error());
  }
  return text;
}

}  // namespace tidemark
