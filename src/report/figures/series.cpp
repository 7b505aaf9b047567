#include "report/figures/series.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "base/units.h"
#include "report/text.h"

namespace tidemark {
namespace {

template <class Field>
bool differs(const Study& study, Field field) {
  return std::any_of(study.records.begin(), study.records.end(), [&](const Record& r) {
    return field(r.cell) != field(study.records.front().cell);
  });
}

// Names what cells share whose chunks are told from one another.
std::string chunk_peers(Cell c) {
  c.model = c.family = "";
  c.context = c.chunk = 0;
  return cell_key(c);
}

std::map<std::string, const Record*> newest_by_cell(const Study& study) {
  std::map<std::string, const Record*> newest;
  for (const Record& record : study.records) {
    const Record*& slot = newest[cell_key(record.cell) + "|" + std::string(name(record.source))];
    // Dates are ISO 8601 in UTC: later ones compare greater. Of equals the later row wins.
    if (!slot || slot->provenance.date <= record.provenance.date) slot = &record;
  }
  return newest;
}

}  // namespace

Configurations::Configurations(const Study& study)
    : device_(differs(study, [](const Cell& c) { return c.device; })),
      dtype_(differs(study, [](const Cell& c) { return c.dtype; })),
      batch_(differs(study, [](const Cell& c) { return c.batch; })),
      new_tokens_(differs(study, [](const Cell& c) { return c.new_tokens; })),
      logits_(differs(study, [](const Cell& c) { return c.logits; })),
      threads_(differs(study, [](const Cell& c) { return c.threads; })),
      limit_(differs(study, [](const Cell& c) { return c.memory_limit_bytes; })) {
  for (const Record& r : study.records)
    if (r.cell.chunk < r.cell.context) chunks_[chunk_peers(r.cell)].stepped.insert(r.cell.chunk);
  for (const Record& r : study.records) {
    Chunks& chunks = chunks_[chunk_peers(r.cell)];
    if (!chunks.stepped.empty() && r.cell.chunk >= r.cell.context &&
        r.cell.context > *chunks.stepped.rbegin())
      chunks.whole_apart = true;
  }
  std::set<std::string> texts;
  for (const Record& r : study.records) texts.insert(chunk_text(r.cell));
  chunk_ = texts.size() > 1;
}

// A context within one chunk is a whole-sequence pass whatever the chunk. Where longer ones were
// run whole too it belongs to those, else it begins the curve of the narrowest chunk that holds it.
std::string Configurations::chunk_text(const Cell& c) const {
  if (c.chunk < c.context) return fmt::format("chunk {}", c.chunk);
  const auto found = chunks_.find(chunk_peers(c));
  if (found == chunks_.end() || found->second.whole_apart) return "whole";
  const auto holds = found->second.stepped.lower_bound(c.context);
  return holds == found->second.stepped.end() ? "whole" : fmt::format("chunk {}", *holds);
}

std::string Configurations::of(const Cell& c) const {
  std::vector<std::string> parts;
  if (device_) parts.push_back(c.device);
  if (dtype_) parts.emplace_back(name(c.dtype));
  if (batch_) parts.push_back(fmt::format("batch {}", c.batch));
  if (new_tokens_) parts.push_back(fmt::format("{} new tokens", c.new_tokens));
  if (chunk_) parts.push_back(chunk_text(c));
  if (logits_) parts.push_back(fmt::format("{} logits", name(c.logits)));
  if (threads_ && c.threads > 0) parts.push_back(fmt::format("{} threads", c.threads));
  if (limit_)
    parts.push_back(c.memory_limit_bytes == 0 ? "no limit" : format_bytes(c.memory_limit_bytes));
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::vector<const Record*> newest_records(const Study& study) {
  std::vector<const Record*> records;
  for (const auto& [key, record] : newest_by_cell(study)) records.push_back(record);
  const Configurations configurations(study);
  const auto order = [&](const Record* r) {
    return std::tuple(r->cell.family, r->cell.model, configurations.of(r->cell), r->source,
                      r->cell.context);
  };
  std::stable_sort(records.begin(), records.end(),
                   [&](const Record* a, const Record* b) { return order(a) < order(b); });
  return records;
}

int64_t superseded_records(const Study& study) {
  return static_cast<int64_t>(study.records.size() - newest_by_cell(study).size());
}

std::vector<std::string> model_names(const Study& study) {
  std::set<std::pair<std::string, std::string>> by_family;
  std::set<std::string> known;
  for (const Record& r : study.records)
    if (known.insert(r.cell.model).second) by_family.insert({r.cell.family, r.cell.model});
  std::vector<std::string> names;
  for (const auto& [family, model] : by_family) names.push_back(model);
  const auto add = [&](const std::string& model) {
    if (known.insert(model).second) names.push_back(model);
  };
  for (const ContextLimit& limit : study.limits) add(limit.model);
  return names;
}

std::string panel_title(const Record& record, const Configurations& configurations) {
  const std::string configuration = configurations.of(record.cell);
  return configuration.empty() ? record.cell.model : record.cell.model + ", " + configuration;
}

std::string tokens_text(double tokens) {
  const auto whole = static_cast<int64_t>(std::llround(tokens));
  if (whole != 0 && whole % (1 << 20) == 0) return fmt::format("{}M", whole >> 20);
  if (whole != 0 && whole % 1024 == 0) return fmt::format("{}K", whole >> 10);
  const std::string digits = fmt::format("{}", whole);
  std::string grouped;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) grouped += ',';
    grouped += digits[i];
  }
  return grouped;
}

std::string policy_text(int64_t chunk, LogitsPolicy logits) {
  return fmt::format("{}, {} logits", chunk == 0 ? "whole" : fmt::format("chunk {}", chunk),
                     name(logits));
}

}  // namespace tidemark
