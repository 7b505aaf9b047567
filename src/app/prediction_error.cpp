#include "app/prediction_error.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>
#include <tuple>

#include "app/prediction.h"
#include "base/error.h"
#include "base/file.h"
#include "base/quantile.h"
#include "model/load.h"
#include "report/text.h"

namespace tidemark {
namespace {

constexpr double mib = 1024.0 * 1024.0;

std::vector<std::string> fields(const std::string& line) {
  std::vector<std::string> found;
  std::istringstream text(line);
  for (std::string field; std::getline(text, field, ',');) {
    while (!field.empty() && field.back() == '\r') field.pop_back();
    found.push_back(field);
  }
  return found;
}

// Columns by name; a row of another length, or a number that is none, is an error with its line.
class Csv {
 public:
  explicit Csv(const std::filesystem::path& file) : file_(file.string()) {
    std::istringstream text(read_text(file));
    std::string line;
    std::getline(text, line);
    columns_ = fields(line);
    while (std::getline(text, line)) {
      if (line.empty()) continue;
      rows_.push_back(fields(line));
      if (rows_.back().size() != columns_.size())
        fail("{}: line {}: expected {} fields, found {}", file_, rows_.size() + 1, columns_.size(),
             rows_.back().size());
    }
  }
  bool has(const std::string& column) const {
    return std::find(columns_.begin(), columns_.end(), column) != columns_.end();
  }
  size_t size() const { return rows_.size(); }
  const std::string& text(size_t row, const std::string& column) const {
    const auto at = std::find(columns_.begin(), columns_.end(), column);
    if (at == columns_.end()) fail("{}: no column '{}'", file_, column);
    return rows_[row][static_cast<size_t>(at - columns_.begin())];
  }
  double number(size_t row, const std::string& column) const {
    const std::string& field = text(row, column);
    try {
      return std::stod(field);
    } catch (const std::exception&) {
      fail("{}: line {}: {}: expected a number, found '{}'", file_, row + 2, column,
           printable(field));
    }
  }
  int64_t integer(size_t row, const std::string& column) const {
    return std::llround(number(row, column));
  }
  const std::string& file() const { return file_; }

 private:
  std::string file_;
  std::vector<std::string> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// One row of a published table, with its prediction.
struct Published {
  std::string device, model;
  int64_t context = 0, new_tokens = 1;
};

class Predictor {
 public:
  // nullptr, with a line in `skipped`, for a model or device that is not known here.
  const Record* predict(const Published& cell, ErrorTable& table) {
    const std::string key =
        fmt::format("{}|{}|{}|{}", cell.device, cell.model, cell.context, cell.new_tokens);
    const auto [at, fresh] = records_.try_emplace(key);
    if (fresh) {
      try {
        const ModelSpec spec = load_spec(cell.model);
        DeviceProfile profile = load_profile(cell.device);
        // What was measured did fit, or has a plan to compare all the same.
        profile.memory_bytes.value = 1e15;
        at->second = predict_record(
            spec, profile,
            {.context = cell.context, .new_tokens = cell.new_tokens, .dtype = DType::bf16},
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
  const Csv csv(file);
  ErrorTable table;
  Predictor predictor;
  for (size_t i = 0; i < csv.size(); ++i) {
    if (csv.has("operator") && csv.text(i, "operator") != "inference_prof") continue;
    const Published cell{csv.text(i, "device"), csv.text(i, "model"),
                         csv.integer(i, "context_tokens"),
                         csv.has("new_tokens") ? csv.integer(i, "new_tokens") : 1};
    const Record* r = predictor.predict(cell, table);
    if (!r) continue;
    const auto row = [&](std::string quantity, std::string what, double measured) {
      return ErrorRow{.quantity = std::move(quantity),
                      .device = cell.device,
                      .model = cell.model,
                      .context = cell.context,
                      .cell = std::move(what),
                      .measured = measured};
    };
    if (csv.has("total_mib")) {
      table.rows.push_back(row("memory", "", csv.number(i, "total_mib")));
      table.rows.back().predicted = memory_mib(*r);
    } else if (csv.has("ttft_s")) {
      add_time(table, row("TTFT", "", csv.number(i, "ttft_s")), r->metrics.ttft_s);
      if (csv.has("tpot_s"))
        add_time(table, row("TPOT", "", csv.number(i, "tpot_s")), r->metrics.tpot_s);
    } else if (csv.has("prefill_j")) {
      if (!r->prefill_energy) continue;
      const Energy& e = *r->prefill_energy;
      table.rows.push_back(row("energy", "", csv.number(i, "prefill_j")));
      table.rows.back().predicted = e.total_j;
      table.rows.back().low = e.low_j;
      table.rows.back().high = e.high_j;
    } else if (csv.has("host_us_per_pass")) {
      add_time(table, row("TTFT", "profiled", csv.number(i, "host_us_per_pass") * 1e-6),
               r->metrics.ttft_s);
    } else {
      fail("{}: expected a column total_mib, ttft_s, prefill_j or host_us_per_pass", csv.file());
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
      groups[row.quantity + (row.cell == "profiled" ? " (profiled)" : "")].push_back(row);
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
                          s.quantity == "memory" ? "exact" : fmt::format("{}", s.inside),
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
