#include "report/run_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/units.h"
#include "report/grouping.h"
#include "report/table.h"

namespace tidemark {
namespace {

constexpr std::string_view absent = "–";

std::string spaced(std::string_view name) {
  std::string text(name);
  std::replace(text.begin(), text.end(), '_', ' ');
  return text;
}

std::string within(double half_width) {
  return fmt::format("±{}", percent_text(half_width));
}

std::string title_of(const Cell& c) {
  std::string text = fmt::format("{}, batch {}, context {}", name(c.dtype), c.batch, c.context);
  if (c.new_tokens > 1) text += fmt::format(" + {} new tokens", c.new_tokens);
  text += fmt::format(", chunk {}, logits {}", c.chunk, name(c.logits));
  if (c.memory_limit_bytes > 0)
    text += fmt::format(", limit {}", format_bytes(c.memory_limit_bytes));
  return text;
}

std::string heading(std::string_view text, std::string_view note, const Style& style) {
  return fmt::format("\n  {}{}{}\n", inked(text, Ink::bold, style), note.empty() ? "" : "  ",
                     inked(note, Ink::dim, style));
}

// ---- times

void add_summary(Table& table, std::string_view label, const std::optional<Summary>& summary,
                 Unit unit, const Style& style) {
  if (!summary) {
    table.rows.push_back({std::string(label), inked("not available", Ink::dim, style)});
    return;
  }
  const Summary& s = *summary;
  const auto range = [&](double low, double high) {
    return fmt::format("{} – {}", number_text(low * unit.per_base),
                       number_text(high * unit.per_base));
  };
  std::vector<std::string> row = {
      std::string(label),
      inked(fmt::format("{} {}", number_text(s.median * unit.per_base), unit.name), Ink::bold,
            style)};
  if (s.n > 1) {
    const bool covered = s.ci_coverage >= 0.95;
    row.insert(row.end(),
               {range(s.p5, s.p95), range(s.ci_low, s.ci_high), within(relative_half_width(s)),
                inked(percent_text(s.ci_coverage), covered ? Ink::plain : Ink::yellow, style)});
  } else {
    row.insert(row.end(), 4, std::string(absent));
  }
  row.push_back(fmt::format("{}", s.n));
  table.rows.push_back(std::move(row));
}

std::string stopping_text(const Stopping& s, double coverage) {
  const std::string runs =
      fmt::format("{} run{} in {} after {} warm-up; stopped ", s.runs, s.runs == 1 ? "" : "s",
                  time_text(s.elapsed_s), s.warmup_runs);
  if (s.reason == StopReason::narrow_interval)
    return runs + fmt::format("when the intervals were within {} (widest {})", within(s.threshold),
                              within(s.relative_half_width.value_or(0)));
  const std::string_view limit =
      s.reason == StopReason::time_budget ? "by the time budget" : "by the limit of runs";
  if (coverage < 0.95) return runs + fmt::format("{}, too few for a 95 % interval", limit);
  return runs + fmt::format("{} at {} (asked for {})", limit,
                            within(s.relative_half_width.value_or(0)), within(s.threshold));
}

std::string times_text(const Metrics& m, const Style& style) {
  Table table{.columns = {{"", Align::left, 10},
                          {"median", Align::right, 13},
                          {"p5 – p95"},
                          {"interval of median"},
                          {"±"},
                          {"coverage"},
                          {"runs"}},
              .rows = {}};
  const auto unit = [](const std::optional<Summary>& s) { return time_unit(s ? s->median : 0); };
  add_summary(table, "TTFT", m.ttft_s, unit(m.ttft_s), style);
  add_summary(table, "TPOT", m.tpot_s, unit(m.tpot_s), style);
  add_summary(table, "end to end", m.end_to_end_s, unit(m.end_to_end_s), style);
  add_summary(table, "prefill", m.prefill_tokens_per_s, {1, "tok/s"}, style);
  add_summary(table, "decode", m.decode_tokens_per_s, {1, "tok/s"}, style);
  std::string text = fmt::format("\n{}", render(table, style));
  if (m.stopping) {
    const bool narrow = m.stopping->reason == StopReason::narrow_interval;
    text += "  " +
            inked(stopping_text(*m.stopping, m.ttft_s->ci_coverage),
                  narrow ? Ink::dim : Ink::yellow, style) +
            "\n";
  }
  return text;
}

// ---- memory

std::string tag_label(Tag tag) {
  constexpr std::string_view labels[] = {"weights",    "activation", "KV cache", "SSM state",
                                         "conv state", "logits",     "workspace"};
  return std::string(labels[static_cast<size_t>(tag)]);
}

std::string memory_text(const Record& r, const Style& style) {
  const Memory& m = r.memory;
  const int64_t total = m.predicted.total();
  Table table{.columns = {{"memory", Align::left, 12},
                          {"planned", Align::right, 12},
                          {"measured", Align::right, 12},
                          {"share", Align::right, 7},
                          {"", Align::left}},
              .rows = {}};
  bool agrees = true;
  const auto add = [&](std::string label, int64_t planned, std::optional<int64_t> measured) {
    const double share = total > 0 ? static_cast<double>(planned) / static_cast<double>(total) : 0;
    std::string mark = inked(bar(share, 24), Ink::cyan, style);
    if (measured && *measured != planned) {
      agrees = false;
      mark = inked(fmt::format("MISMATCH: {:+} bytes", *measured - planned), Ink::red, style);
    }
    table.rows.push_back({std::move(label), format_bytes(planned, "MiB"),
                          measured ? format_bytes(*measured, "MiB") : std::string(absent),
                          percent_text(share), mark});
  };
  for (Tag tag : all_tags)
    add(tag_label(tag), m.predicted[tag],
        m.high_water ? std::optional((*m.high_water)[tag]) : std::nullopt);
  table.rows.emplace_back();
  add("total", total, m.high_water ? std::optional(m.high_water->total()) : std::nullopt);
  // The whole bar says nothing of the total; whether the two columns agree does.
  if (m.high_water && agrees)
    table.rows.back().back() = inked("equal to the byte", Ink::green, style);
  else if (agrees)
    table.rows.back().back().clear();
  if (m.driver_bytes)
    table.rows.push_back({"driver", std::string(absent), format_bytes(*m.driver_bytes, "MiB")});
  if (m.peak_rss_bytes)
    table.rows.push_back({"peak RSS", std::string(absent), format_bytes(*m.peak_rss_bytes, "MiB"),
                          "", inked("of the whole process", Ink::dim, style)});
  std::string text = fmt::format("\n{}", render(table, style));
  if (!agrees)
    text += "  " +
            inked("The measured high-water mark differs from the plan: one of them is wrong.",
                  Ink::red, style) +
            "\n";
  return text;
}

// ---- operators

struct Sum {
  double time_s = 0;
  double ops = 0, bytes = 0;
  void add(const OperatorRow& row) {
    time_s += row.time_s;
    ops += static_cast<double>(row.ops);
    bytes += static_cast<double>(row.bytes_read) + static_cast<double>(row.bytes_written);
  }
};

std::string giga(double value) {
  return value == 0 ? std::string(absent) : number_text(value * 1e-9);
}
std::string giga_per_s(double amount, double time_s) {
  return giga(time_s > 0 ? amount / time_s : 0);
}

// Times of one column, with the decimals of its largest and some more for the small ones.
struct TimeColumn {
  Unit unit;
  int decimals;
  TimeColumn(double largest_s, int more)
      : unit(time_unit(largest_s)), decimals(decimals_of(largest_s * unit.per_base) + more) {}
  std::string operator()(double seconds) const {
    return fmt::format("{:.{}f}", seconds * unit.per_base, decimals);
  }
};

std::vector<std::string> cost_cells(const Sum& s, double wall_s, const Style& style) {
  const double share = wall_s > 0 ? s.time_s / wall_s : 0;
  return {TimeColumn(wall_s, 1)(s.time_s),
          percent_text(share),
          inked(bar(share, 16), Ink::cyan, style),
          giga(s.ops),
          giga_per_s(s.ops, s.time_s),
          giga(s.bytes),
          giga_per_s(s.bytes, s.time_s)};
}

std::vector<Column> cost_columns(double wall_s) {
  return {{fmt::format("time, {}", time_unit(wall_s).name), Align::right, 9},
          {"share", Align::right, 7},
          {"", Align::left, 16},
          {"GFLOP", Align::right, 8},
          {"GFLOP/s", Align::right, 8},
          {"GB", Align::right, 8},
          {"GB/s", Align::right, 8}};
}

std::vector<std::string> joined(std::vector<std::string> a, std::vector<std::string> b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::string breakdown_text(const OperatorProfile& p, std::string_view phase, std::string_view what,
                           const Style& style) {
  std::array<Sum, category_count> sums{};
  Sum all;
  for (const OperatorRow& row : p.rows) {
    sums[static_cast<size_t>(row.category)].add(row);
    all.add(row);
  }
  std::vector<size_t> order;
  for (size_t i = 0; i < sums.size(); ++i)
    if (std::any_of(p.rows.begin(), p.rows.end(),
                    [&](const OperatorRow& r) { return static_cast<size_t>(r.category) == i; }))
      order.push_back(i);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return sums[a].time_s > sums[b].time_s; });

  Table table{.columns = {{"category", Align::left, 11}}, .rows = {}};
  for (Column& column : cost_columns(p.wall_s)) table.columns.push_back(std::move(column));
  for (size_t i : order)
    table.rows.push_back(joined({std::string(name(static_cast<Category>(i)))},
                                cost_cells(sums[i], p.wall_s, style)));
  table.rows.push_back(joined({"gap"}, cost_cells({.time_s = p.gap_s}, p.wall_s, style)));
  table.rows.emplace_back();
  all.time_s = p.wall_s;
  std::vector<std::string> total = cost_cells(all, p.wall_s, style);
  total[2].clear();
  table.rows.push_back(joined({"wall"}, std::move(total)));

  std::string note =
      fmt::format("{}, middle half of {} pass{}", what, p.passes, p.passes == 1 ? "" : "es");
  if (p.overhead) note += fmt::format("; {:.3f} x the time without profiling", *p.overhead);
  std::string text = heading(phase, note, style) + render(table, style);
  if (p.device)
    text +=
        fmt::format("  device busy {}, host dispatch {}, idle {}\n", time_text(p.device->busy_s),
                    time_text(p.device->host_dispatch_s), time_text(p.device->idle_s));
  return text;
}

std::string operators_text(const OperatorProfile& p, std::string_view phase, const Style& style) {
  const TimeColumn time(p.wall_s, 2);
  Table table{.columns = {{"layer"},
                          {"role", Align::left},
                          {"operator", Align::left},
                          {"calls"},
                          {fmt::format("time, {}", time.unit.name)},
                          {"share"},
                          {"GFLOP"},
                          {"GFLOP/s"},
                          {"GB"},
                          {"GB/s"},
                          {"ran", Align::left}},
              .rows = {}};
  for (const OperatorRow& row : p.rows) {
    Sum sum;
    sum.add(row);
    table.rows.push_back({row.layer < 0 ? std::string(absent) : fmt::format("{}", row.layer),
                          std::string(name(row.role)), printable(row.op),
                          fmt::format("{}", row.calls), time(row.time_s),
                          percent_text(p.wall_s > 0 ? row.time_s / p.wall_s : 0, 2), giga(sum.ops),
                          giga_per_s(sum.ops, sum.time_s), giga(sum.bytes),
                          giga_per_s(sum.bytes, sum.time_s), printable(row.implementation)});
  }
  table.rows.push_back(
      {"", "gap", "", "", time(p.gap_s), percent_text(p.wall_s > 0 ? p.gap_s / p.wall_s : 0, 2)});
  table.rows.emplace_back();
  table.rows.push_back({"", "wall", "", "", time(p.wall_s), percent_text(1, 2)});
  return heading(phase, "every operator", style) + render(table, style);
}

std::string energy_text(const Energy& e, std::string_view phase) {
  std::string text = fmt::format("  energy of a {} {} J over {}", phase, number_text(e.total_j),
                                 time_text(e.window_s));
  if (e.baseline_j) text += fmt::format(", of which idle {} J", number_text(*e.baseline_j));
  return text + fmt::format(" ({})\n", printable(e.sensor));
}

// ---- side by side

// What tells the records of one model apart, beside the context.
std::string variant_of(const Cell& c, std::span<const Record> records) {
  const auto differs = [&](auto member) {
    return std::any_of(records.begin(), records.end(), [&](const Record& r) {
      return r.cell.*member != records.front().cell.*member;
    });
  };
  std::string text;
  const auto add = [&](std::string part) { text.append(text.empty() ? "" : ", ").append(part); };
  if (differs(&Cell::device)) add(printable(c.device));
  if (differs(&Cell::dtype)) add(std::string(name(c.dtype)));
  if (differs(&Cell::batch)) add(fmt::format("batch {}", c.batch));
  if (differs(&Cell::new_tokens)) add(fmt::format("{} new", c.new_tokens));
  if (differs(&Cell::logits)) add(fmt::format("logits {}", name(c.logits)));
  if (differs(&Cell::threads)) add(fmt::format("{} threads", c.threads));
  if (differs(&Cell::memory_limit_bytes)) add(format_bytes(c.memory_limit_bytes));
  return text;
}

using Order = std::vector<const Record*>;

Order by_model_and_context(std::span<const Record> records) {
  // Models in the order they were asked for, each variant's contexts ascending.
  std::map<std::string, size_t> first_seen;
  for (const Record& r : records) first_seen.try_emplace(r.cell.model, first_seen.size());
  Order order;
  for (const Record& r : records) order.push_back(&r);
  std::stable_sort(order.begin(), order.end(), [&](const Record* a, const Record* b) {
    const auto key = [&](const Record* r) {
      return std::tuple(first_seen[r->cell.model], r->source, variant_of(r->cell, records),
                        r->cell.context);
    };
    return key(a) < key(b);
  });
  return order;
}

std::string label_of(const Record& r, std::span<const Record> records) {
  std::string label = printable(r.cell.model);
  if (r.source == Source::predicted) label += " (predicted)";
  const std::string variant = variant_of(r.cell, records);
  return variant.empty() ? label : label + ", " + variant;
}

// "4.215 s ±0.6 %", or "4.215 s n = 3"
std::string with_interval(const std::optional<Summary>& s, const Style& style) {
  if (!s) return std::string(absent);
  if (s->ci_coverage < 0.95)  // too few runs to claim one
    return fmt::format("{} {}", time_text(s->median),
                       inked(fmt::format("n = {}", s->n), Ink::yellow, style));
  return fmt::format("{} {}", time_text(s->median),
                     inked(within(relative_half_width(*s)), Ink::dim, style));
}

std::string rate_text(const std::optional<Summary>& s) {
  return s ? number_text(s->median) : std::string(absent);
}

Table headline_table(const Order& order, std::span<const Record> records, const Style& style) {
  Table table{.columns = {{"context", Align::right, 9},
                          {"TTFT"},
                          {"TPOT"},
                          {"prefill tok/s"},
                          {"decode tok/s"},
                          {"memory"},
                          {"cache+state"}},
              .rows = {}};
  std::string last_label;
  for (const Record* r : order) {
    const std::string label = label_of(*r, records);
    if (label != last_label) table.rows.push_back({inked(label, Ink::bold, style)});
    const MemoryByTag& m = r->memory.predicted;
    const int64_t state = m[Tag::kv_cache] + m[Tag::ssm_state] + m[Tag::conv_state];
    std::vector<std::string> row = {fmt::format("{}", r->cell.context)};
    if (r->outcome == Outcome::ok) {
      row = joined(
          std::move(row),
          {with_interval(r->metrics.ttft_s, style), with_interval(r->metrics.tpot_s, style),
           rate_text(r->metrics.prefill_tokens_per_s), rate_text(r->metrics.decode_tokens_per_s)});
    } else {
      row = joined(std::move(row), {inked(spaced(name(r->outcome)), Ink::red, style),
                                    std::string(absent), std::string(absent), std::string(absent)});
    }
    const bool planned = m.total() > 0;
    row.push_back(planned ? format_bytes(m.total(), "MiB") : std::string(absent));
    row.push_back(planned ? format_bytes(state, "MiB") : std::string(absent));
    table.rows.push_back(std::move(row));
    last_label = label;
  }
  return table;
}

// Shares of wall time by group, one line per record that has the phase's operators.
Table shares_table(const Order& order, std::span<const Record> records,
                   std::optional<OperatorProfile> Record::*phase, const Style& style) {
  Table table{.columns = {{"context", Align::right, 9}}, .rows = {}};
  for (Group g : all_groups) table.columns.push_back({std::string(name(g))});
  table.columns.push_back({"gap"});
  std::string last_label;
  for (const Record* r : order) {
    const auto& profile = r->*phase;
    if (!profile || profile->wall_s <= 0) continue;
    std::map<Group, double> time_s;
    for (const OperatorRow& row : profile->rows)
      time_s[group(row.category, row.role)] += row.time_s;
    const std::string label = label_of(*r, records);
    if (label != last_label) table.rows.push_back({inked(label, Ink::bold, style)});
    std::vector<std::string> row = {fmt::format("{}", r->cell.context)};
    for (Group g : all_groups)
      row.push_back(time_s.contains(g) ? percent_text(time_s[g] / profile->wall_s)
                                       : std::string(absent));
    row.push_back(percent_text(profile->gap_s / profile->wall_s));
    table.rows.push_back(std::move(row));
    last_label = label;
  }
  return table;
}

}  // namespace

std::string machine_text(const Provenance& p, const Style& style) {
  std::string libraries;
  for (const std::string& library : p.libraries)
    libraries.append(libraries.empty() ? "" : ", ").append(library);
  std::string text;
  const auto add = [&](std::string_view label, const std::string& value) {
    if (!value.empty())
      text += fmt::format("  {}{}\n", inked(fmt::format("{:<10}", label), Ink::dim, style),
                          printable(value));
  };
  add("tidemark", fmt::format("{}, commit {}{}", p.version, p.commit.substr(0, 12),
                              p.dirty ? " with changes" : ""));
  if (p.device_name != p.cpu) add("device", p.device_name);
  add("CPU", fmt::format("{}, {} of memory", p.cpu, format_bytes(p.memory_bytes)));
  add("runs on", fmt::format("{}, {} thread{}", p.isa, p.threads, p.threads == 1 ? "" : "s"));
  add("libraries", libraries);
  add("compiler", p.compiler);
  add("system", p.os);
  add("date", p.date);
  return text;
}

std::string record_text(const Record& r, bool operators, const Style& style) {
  std::string text = fmt::format("\n━━ {}  {}\n", inked(printable(r.cell.model), Ink::bold, style),
                                 title_of(r.cell));
  const auto note = [&](std::string_view line, Ink ink) {
    text += fmt::format("  {}\n", inked(line, ink, style));
  };
  std::string origin = r.weights.empty() ? "" : fmt::format("weights: {}", r.weights);
  if (!r.prompt.empty())
    origin += fmt::format("{}prompt: {}", origin.empty() ? "" : "; ", r.prompt);
  if (r.source == Source::predicted)
    note(fmt::format("predicted for {}", r.cell.device), Ink::yellow);
  if (!origin.empty()) note(origin, Ink::dim);
  if (r.outcome != Outcome::ok)
    note(fmt::format("{}: {}", spaced(name(r.outcome)), r.reason), Ink::red);
  for (const std::string& flag : r.flags) note(fmt::format("! {}", flag), Ink::yellow);

  if (r.metrics.ttft_s) text += times_text(r.metrics, style);
  if (r.memory.predicted.total() > 0) text += memory_text(r, style);
  if (r.prefill_energy) text += energy_text(*r.prefill_energy, "prefill");
  if (r.decode_energy) text += energy_text(*r.decode_energy, "decode step");
  const std::string decode_what = fmt::format("one step at position {}", r.cell.context);
  if (r.prefill) text += breakdown_text(*r.prefill, "prefill", "one pass", style);
  if (r.decode) text += breakdown_text(*r.decode, "decode", decode_what, style);
  if (operators && r.prefill) text += operators_text(*r.prefill, "prefill", style);
  if (operators && r.decode) text += operators_text(*r.decode, "decode", style);
  return text;
}

std::string comparison_text(std::span<const Record> records, const Style& style) {
  if (records.empty()) return "";
  const Order order = by_model_and_context(records);
  std::string text =
      heading("side by side", "± of the median's interval; memory as planned", style) +
      render(headline_table(order, records, style), style);
  for (auto [label, phase] : {std::pair("share of prefill time", &Record::prefill),
                              std::pair("share of decode time", &Record::decode)}) {
    const Table table = shares_table(order, records, phase, style);
    if (!table.rows.empty()) text += heading(label, "", style) + render(table, style);
  }
  return text;
}

}  // namespace tidemark
