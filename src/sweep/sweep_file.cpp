#include "sweep/sweep_file.h"

#include <toml++/toml.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "base/device_name.h"
#include "base/error.h"
#include "base/file.h"
#include "base/units.h"

namespace tidemark {
namespace {

// The axes of a grid by their names in the file. Values are kept as text until cells are made, so
// that one parser serves integers and strings alike.
constexpr std::string_view axis_names[] = {"model",   "device",      "dtype", "batch",
                                           "context", "new_tokens",  "chunk", "logits",
                                           "threads", "memory_limit"};

// Where something stands in the file, for errors.
struct Place {
  std::string file;
  toml::source_index line = 0;
  std::string key;
};
template <class... Args>
[[noreturn]] void fail_at(const Place& place, fmt::format_string<Args...> format, Args&&... args) {
  fail("{}:{}: {}: {}", place.file, place.line, place.key,
       fmt::format(format, std::forward<Args>(args)...));
}
// For what the parsers of base/units.h have to say.
std::string label(const Place& place) {
  return fmt::format("{}:{}: {}", place.file, place.line, place.key);
}

struct Value {
  std::string text;
  Place place;
};
using Axes = std::map<std::string, std::vector<Value>, std::less<>>;

std::string text_of(const toml::node& node, const Place& place) {
  if (const auto text = node.value_exact<std::string>()) return *text;
  if (const auto number = node.value_exact<int64_t>()) return std::to_string(*number);
  fail_at(place, "expected a text or a whole number");
}

std::vector<Value> values_of(const toml::node& node, const Place& place) {
  std::vector<Value> values;
  if (const toml::array* list = node.as_array()) {
    for (const toml::node& element : *list) {
      Place at = place;
      at.line = element.source().begin.line;
      values.push_back({text_of(element, at), at});
    }
    if (values.empty()) fail_at(place, "expected at least one value");
  } else {
    values.push_back({text_of(node, place), place});
  }
  return values;
}

struct PlacedCell {
  Cell cell;
  CellLines lines;
};

class Reader {
 public:
  Reader(const toml::table& root, std::string file) : root_(root), file_(std::move(file)) {}

  SweepFile read() {
    for (const auto& [key, node] : root_)
      if (key != "sweep" && key != "measure" && key != "grid" && key != "include" &&
          key != "exclude")
        fail_at(at(node, std::string(key.str())),
                "unknown; expected sweep, measure, grid, include or exclude");
    SweepFile result;
    read_settings(result);
    read_cells(result);
    return result;
  }

 private:
  Place at(const toml::node& node, std::string key) const {
    return {file_, node.source().begin.line, std::move(key)};
  }

  const toml::table& table(const toml::node& node, const std::string& key) const {
    const toml::table* found = node.as_table();
    if (!found) fail_at(at(node, key), "expected a table");
    return *found;
  }

  using Setting = std::function<void(const toml::node&, const Place&)>;
  void read_table(std::string_view section, const std::map<std::string, Setting>& settings) const {
    const toml::node* node = root_.get(section);
    if (!node) return;
    for (const auto& [key, value] : table(*node, std::string(section))) {
      const Place place = at(value, fmt::format("{}.{}", section, key.str()));
      const auto found = settings.find(std::string(key.str()));
      if (found == settings.end()) {
        std::string known;
        for (const auto& setting : settings) known += (known.empty() ? "" : ", ") + setting.first;
        fail_at(place, "unknown; expected one of {}", known);
      }
      found->second(value, place);
    }
  }

  void read_settings(SweepFile& result) const {
    const auto whole = [](auto& out, int64_t least) -> Setting {
      return [&out, least](const toml::node& node, const Place& place) {
        const auto value = node.value_exact<int64_t>();
        if (!value || *value < least) fail_at(place, "expected a whole number from {} up", least);
        out = static_cast<std::remove_reference_t<decltype(out)>>(*value);
      };
    };
    const auto seconds = [](double& out) -> Setting {
      return [&out](const toml::node& node, const Place& place) {
        const auto value = node.value<double>();
        if (!value || !(*value > 0) || *value > 1e9)
          fail_at(place, "expected a positive number of seconds");
        out = *value;
      };
    };
    const auto yes_or_no = [](bool& out) -> Setting {
      return [&out](const toml::node& node, const Place& place) {
        const auto value = node.value_exact<bool>();
        if (!value) fail_at(place, "expected true or false");
        out = *value;
      };
    };
    read_table("sweep", {{"seed", whole(result.seed, 0)},
                         {"repeats", whole(result.repeats, 1)},
                         {"timeout_s", seconds(result.timeout_s)},
                         {"process_memory", [&](const toml::node& node, const Place& place) {
                            result.process_memory_line = place.line;
                            result.process_memory_bytes = with_context(
                                label(place), [&] { return parse_bytes(text_of(node, place)); });
                            if (result.process_memory_bytes < 1)
                              fail_at(place, "expected at least 1 byte");
                          }}});
    MeasureSettings& measure = result.measure;
    read_table("measure", {{"budget_s", seconds(measure.budget_s)},
                           {"synthetic", yes_or_no(measure.synthetic)},
                           {"seed", whole(measure.seed, 0)},
                           {"operators", yes_or_no(measure.operators)},
                           {"energy", yes_or_no(measure.energy)}});
  }

  Axes read_axes(const toml::table& table, const std::string& section) const {
    Axes axes;
    for (const auto& [key, node] : table) {
      const Place place = at(node, fmt::format("{}.{}", section, key.str()));
      if (std::find(std::begin(axis_names), std::end(axis_names), key.str()) ==
          std::end(axis_names))
        fail_at(place, "unknown; expected one of {}", fmt::join(axis_names, ", "));
      axes.emplace(key.str(), values_of(node, place));
    }
    return axes;
  }

  // Every [[section]] table, with where it stands.
  void for_each_table(const std::string& section,
                      const std::function<void(const toml::table&, const Place&)>& body) const {
    const toml::node* node = root_.get(section);
    if (!node) return;
    const toml::array* list = node->as_array();
    if (!list) fail_at(at(*node, section), "expected [[{}]] tables", section);
    for (const toml::node& element : *list) body(table(element, section), at(element, section));
  }

  void read_cells(SweepFile& result) const {
    const toml::node* grid_node = root_.get("grid");
    if (!grid_node) fail("{}: grid: missing; a sweep file needs a [grid] table", file_);
    const Axes grid = read_axes(table(*grid_node, "grid"), "grid");
    std::set<std::string> seen;
    std::vector<PlacedCell> cells;
    add_cells(grid, at(*grid_node, "grid"), seen, cells);
    for_each_table("include", [&](const toml::table& table, const Place& place) {
      Axes axes = read_axes(table, "include");
      axes.insert(grid.begin(), grid.end());  // what it does not say is as in the grid
      add_cells(axes, place, seen, cells);
    });
    for_each_table("exclude", [&](const toml::table& table, const Place& place) {
      const Axes axes = read_axes(table, "exclude");
      if (axes.empty()) fail_at(place, "expected at least one key");
      if (std::erase_if(cells, [&](const PlacedCell& c) { return matches(c.cell, axes); }) == 0)
        fail_at(place, "matches no cell");
    });
    if (cells.empty()) fail("{}: every cell is excluded", file_);
    for (PlacedCell& c : cells) {
      result.cells.push_back(std::move(c.cell));
      result.lines.push_back(c.lines);
    }
  }

  void add_cells(const Axes& axes, const Place& place, std::set<std::string>& seen,
                 std::vector<PlacedCell>& cells) const;
  bool matches(const Cell& cell, const Axes& axes) const;

  const toml::table& root_;
  std::string file_;
};

std::vector<int64_t> counts(const Value& value, int64_t least = 1) {
  if (least == 0 && value.text == "0") return {0};
  return with_context(label(value.place), [&] { return parse_token_list(value.text); });
}

DType dtype_of(const Value& value) {
  const auto dtype = parse_model_dtype(value.text);
  if (!dtype) fail_at(value.place, "expected {}, found '{}'", model_dtypes, value.text);
  return *dtype;
}

LogitsPolicy logits_of(const Value& value) {
  const auto logits = parse_logits(value.text);
  if (!logits) fail_at(value.place, "expected last or all, found '{}'", value.text);
  return *logits;
}

int64_t memory_of(const Value& value) {
  if (value.text == "none") return 0;
  const int64_t bytes = with_context(label(value.place), [&] { return parse_bytes(value.text); });
  if (bytes < 1) fail_at(value.place, "expected a size or none, found '{}'", value.text);
  return bytes;
}

constexpr int64_t whole_chunk = std::numeric_limits<int64_t>::max();

// What one value of an axis stands for: ranges stand for several.
using Set = std::function<void(Cell&)>;
std::vector<Set> settings_of(std::string_view axis, const Value& value) {
  std::vector<Set> sets;
  const auto each = [&](int64_t least, int64_t Cell::*field) {
    for (int64_t count : counts(value, least)) {
      if (field == &Cell::threads && count > most_threads)
        fail_at(value.place, "expected 0 (all cores) to {}, found {}", most_threads, count);
      sets.push_back([=](Cell& c) { c.*field = count; });
    }
  };
  if (axis == "model") sets.push_back([=](Cell& c) { c.model = value.text; });
  if (axis == "device" && !parse_device(value.text))
    fail_at(value.place, "expected cpu or cuda:N, found '{}'", printable(value.text));
  if (axis == "device") sets.push_back([=](Cell& c) { c.device = value.text; });
  if (axis == "dtype") sets.push_back([d = dtype_of(value)](Cell& c) { c.dtype = d; });
  if (axis == "logits") sets.push_back([l = logits_of(value)](Cell& c) { c.logits = l; });
  if (axis == "memory_limit")
    sets.push_back([m = memory_of(value)](Cell& c) { c.memory_limit_bytes = m; });
  if (axis == "batch") each(1, &Cell::batch);
  if (axis == "context") each(1, &Cell::context);
  if (axis == "new_tokens") each(1, &Cell::new_tokens);
  if (axis == "threads") each(0, &Cell::threads);
  if (axis == "chunk" && value.text == "whole") {
    sets.push_back([](Cell& c) { c.chunk = whole_chunk; });
  } else if (axis == "chunk") {
    each(1, &Cell::chunk);
  }
  return sets;
}

void Reader::add_cells(const Axes& axes, const Place& place, std::set<std::string>& seen,
                       std::vector<PlacedCell>& cells) const {
  for (const char* needed : {"model", "context"})
    if (!axes.contains(needed)) fail_at(place, "key '{}' is missing", needed);
  std::vector<PlacedCell> grown = {
      {{.device = "cpu", .dtype = DType::bf16, .new_tokens = 32, .chunk = 512}, {}}};
  for (std::string_view axis : axis_names) {
    const auto found = axes.find(axis);
    if (found == axes.end()) continue;
    std::vector<PlacedCell> next;
    for (const PlacedCell& cell : grown)
      for (const Value& value : found->second)
        for (const Set& set : settings_of(axis, value)) {
          PlacedCell& set_cell = next.emplace_back(cell);
          set(set_cell.cell);
          if (axis == "model") set_cell.lines.model = value.place.line;
          if (axis == "context") set_cell.lines.context = value.place.line;
          if (next.size() > 1'000'000) fail_at(place, "expected at most a million cells");
        }
    grown = std::move(next);
  }
  for (PlacedCell& placed : grown) {
    Cell& cell = placed.cell;
    cell.chunk = std::min(cell.chunk, cell.context);  // as build_plan does: the same cell once
    if (seen.insert(cell_key(cell)).second) cells.push_back(std::move(placed));
  }
}

// '*' stands for any run of characters.
bool matches_glob(std::string_view text, std::string_view pattern) {
  if (pattern.empty()) return text.empty();
  if (pattern.front() == '*') {
    for (size_t i = 0; i <= text.size(); ++i)
      if (matches_glob(text.substr(i), pattern.substr(1))) return true;
    return false;
  }
  return !text.empty() && text.front() == pattern.front() &&
         matches_glob(text.substr(1), pattern.substr(1));
}

// "64k..", "..1k", "2k..8k", or what parse_token_list reads.
bool matches_count(int64_t count, const Value& value) {
  const std::string_view text = value.text;
  const size_t dots = text.find("..");
  if (dots != std::string_view::npos && text.find_first_of("*+,") == std::string_view::npos) {
    const std::string_view from = text.substr(0, dots), to = text.substr(dots + 2);
    if (from.empty() && to.empty()) fail_at(value.place, "expected a bound, found '{}'", text);
    return with_context(label(value.place), [&] {
      return (from.empty() || count >= parse_tokens(from)) &&
             (to.empty() || count <= parse_tokens(to));
    });
  }
  const auto list = counts(value, 0);
  return std::find(list.begin(), list.end(), count) != list.end();
}

bool matches_value(const Cell& cell, std::string_view axis, const Value& value) {
  if (axis == "model") return matches_glob(cell.model, value.text);
  if (axis == "device") return matches_glob(cell.device, value.text);
  if (axis == "dtype") return cell.dtype == dtype_of(value);
  if (axis == "logits") return cell.logits == logits_of(value);
  if (axis == "memory_limit") return cell.memory_limit_bytes == memory_of(value);
  if (axis == "batch") return matches_count(cell.batch, value);
  if (axis == "context") return matches_count(cell.context, value);
  if (axis == "new_tokens") return matches_count(cell.new_tokens, value);
  if (axis == "threads") return matches_count(cell.threads, value);
  if (value.text == "whole") return cell.chunk == cell.context;
  return matches_count(cell.chunk, value);
}

bool Reader::matches(const Cell& cell, const Axes& axes) const {
  return std::all_of(axes.begin(), axes.end(), [&](const auto& axis) {
    return std::any_of(axis.second.begin(), axis.second.end(),
                       [&](const Value& value) { return matches_value(cell, axis.first, value); });
  });
}

}  // namespace

SweepFile parse_sweep_file(std::string_view text, const std::string& file_name) {
  toml::table root;
  try {
    root = toml::parse(text, file_name);
  } catch (const toml::parse_error& error) {
    fail("{}:{}: {}", file_name, error.source().begin.line, error.description());
  }
  return Reader(root, file_name).read();
}

SweepFile read_sweep_file(const std::filesystem::path& path) {
  return parse_sweep_file(read_text(path), path.string());
}

}  // namespace tidemark
