#include "record/record.h"

#include <fmt/format.h>

#include <iterator>

namespace tidemark {
namespace {

constexpr std::string_view source_names[] = {"measured", "predicted"};
constexpr std::string_view outcome_names[] = {"ok", "out_of_memory", "unsupported", "timed_out",
                                              "failed"};
constexpr std::string_view stop_reason_names[] = {"narrow_interval", "time_budget", "max_runs"};
constexpr std::string_view bound_names[] = {"compute", "bandwidth", "launch"};
static_assert(std::size(outcome_names) == static_cast<size_t>(Outcome::failed) + 1);
static_assert(std::size(stop_reason_names) == static_cast<size_t>(StopReason::max_runs) + 1);

// Names come from users; '|' separates the fields of a key.
std::string escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '|' || c == '%')
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    else
      out += c;
  }
  return out;
}

}  // namespace

std::string machine_of(const Record& record) {
  const Provenance& p = record.provenance;
  return record.cell.device == "cpu" && !p.cpu.empty() ? p.cpu : p.device_name;
}

std::string_view name(Source s) {
  return source_names[static_cast<size_t>(s)];
}
std::string_view name(Outcome o) {
  return outcome_names[static_cast<size_t>(o)];
}
std::string_view name(StopReason r) {
  return stop_reason_names[static_cast<size_t>(r)];
}

std::string_view name(Bound b) {
  return bound_names[static_cast<size_t>(b)];
}

double relative_half_width(const Summary& s) {
  return s.median > 0 ? (s.ci_high - s.ci_low) / 2 / s.median : 0;
}

std::string cell_key(const Cell& c) {
  return fmt::format(
      "model={}|family={}|device={}|dtype={}|batch={}|context={}|new_tokens={}|chunk={}|logits={}|"
      "threads={}|memory_limit={}",
      escaped(c.model), escaped(c.family), escaped(c.device), name(c.dtype), c.batch, c.context,
      c.new_tokens, c.chunk, name(c.logits), c.threads, c.memory_limit_bytes);
}

}  // namespace tidemark
