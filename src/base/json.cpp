#include "base/json.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/file.h"

namespace tidemark {
namespace {

constexpr int max_depth = 64;
constexpr std::string_view float_key = "__float__";

// One pass before the parser proper: bounds the nesting, and spells the bare Infinity and NaN of
// Python as the object {"__float__": ...} that transformers 5 writes.
std::string standard_json(std::string_view text) {
  std::string out;
  size_t copied = 0;
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '}' || c == ']') --depth;
    if ((c == '{' || c == '[') && ++depth > max_depth)
      fail("expected at most {} levels of nesting, found more at byte {}", max_depth, i);
    if (c != 'I' && c != 'N' && c != '-') continue;
    for (std::string_view token : {"Infinity", "-Infinity", "NaN"}) {
      if (!text.substr(i).starts_with(token)) continue;
      out.append(text.substr(copied, i - copied));
      out.append(fmt::format("{{\"{}\":\"{}\"}}", float_key, token));
      copied = i + token.size();
      i = copied - 1;
      break;
    }
  }
  out.append(text.substr(copied));
  return out;
}

nlohmann::json parse_standard(const std::string& text) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto refuse_repeated_keys = [&](int, nlohmann::json::parse_event_t event,
                                        nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key) {
      const std::string& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) fail("key '{}': found twice", printable(key));
    }
    return true;
  };
  try {
    return nlohmann::json::parse(text, refuse_repeated_keys);
  } catch (const nlohmann::json::exception& error) {
    std::string_view what = error.what();  // "[json.exception.parse_error.101] parse error at ..."
    if (const size_t end = what.find("] "); end != what.npos) what.remove_prefix(end + 2);
    fail("expected JSON: {}", printable(what));
  }
}

std::optional<double> tagged_float(const nlohmann::json& value) {
  if (!value.is_object() || value.size() != 1 || !value.contains(float_key)) return std::nullopt;
  const nlohmann::json& text = value.front();
  if (text == "Infinity") return std::numeric_limits<double>::infinity();
  if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  return std::nullopt;
}

std::string describe(const nlohmann::json& value) {
  if (value.is_string()) return fmt::format("a string '{}'", printable(value.get<std::string>()));
  if (value.is_array()) return fmt::format("an array of {}", value.size());
  if (const auto number = tagged_float(value)) return fmt::format("{}", *number);
  if (value.is_object()) return "an object";
  return value.dump();
}

}  // namespace

struct Json::Document {
  std::string source;
  nlohmann::json root;
};

Json::Json(std::shared_ptr<const Document> document, const nlohmann::json* value, std::string path)
    : document_(std::move(document)), value_(value), path_(std::move(path)) {}

Json Json::parse(std::string_view text, std::string source) {
  nlohmann::json root = with_context(source, [&] { return parse_standard(standard_json(text)); });
  auto document = std::make_shared<const Document>(Document{std::move(source), std::move(root)});
  const nlohmann::json* value = &document->root;
  return Json(std::move(document), value, "");
}

Json Json::read(const std::filesystem::path& file) {
  return parse(read_text(file), file.string());
}

bool Json::is_object() const {
  return value_->is_object();
}
bool Json::is_array() const {
  return value_->is_array();
}
bool Json::is_string() const {
  return value_->is_string();
}

bool Json::has(std::string_view key) const {
  if (!value_->is_object()) return false;
  const auto found = value_->find(key);
  return found != value_->end() && !found->is_null();
}

bool Json::has_null(std::string_view key) const {
  if (!value_->is_object()) return false;
  const auto found = value_->find(key);
  return found != value_->end() && found->is_null();
}

Json Json::member(const nlohmann::json& value, std::string path) const {
  return Json(document_, &value, std::move(path));
}

Json Json::operator[](std::string_view key) const {
  if (!value_->is_object()) fail_expected("an object");
  std::string path = path_.empty() ? printable(key) : path_ + "." + printable(key);
  const auto found = value_->find(key);
  if (found == value_->end()) fail("{}: key '{}': missing", document_->source, path);
  return member(*found, std::move(path));
}

Json Json::operator[](size_t index) const {
  if (index >= size()) fail_expected(fmt::format("at least {} elements", index + 1));
  return member((*value_)[index], fmt::format("{}[{}]", path_, index));
}

size_t Json::size() const {
  if (!value_->is_array()) fail_expected("an array");
  return value_->size();
}

std::vector<std::string> Json::keys() const {
  if (!value_->is_object()) fail_expected("an object");
  std::vector<std::string> keys;
  for (const auto& item : value_->items()) keys.push_back(item.key());
  return keys;
}

int64_t Json::integer(int64_t least, int64_t most) const {
  const auto fail_range = [&] {
    constexpr int64_t lowest = std::numeric_limits<int64_t>::min();
    constexpr int64_t highest = std::numeric_limits<int64_t>::max();
    if (least == lowest && most == highest) fail_expected("an integer");
    if (most == highest) fail_expected(fmt::format("an integer of at least {}", least));
    fail_expected(fmt::format("an integer from {} to {}", least, most));
  };
  int64_t result = 0;
  if (value_->is_number_float()) {
    const double number = value_->get<double>();
    if (number != std::floor(number) || std::abs(number) > 9e15) fail_range();
    result = static_cast<int64_t>(number);
  } else if (value_->is_number_unsigned()) {
    const auto number = value_->get<uint64_t>();
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) fail_range();
    result = static_cast<int64_t>(number);
  } else if (value_->is_number_integer()) {
    result = value_->get<int64_t>();
  } else {
    fail_range();
  }
  if (result < least || result > most) fail_range();
  return result;
}

double Json::number() const {
  if (const auto number = tagged_float(*value_)) return *number;
  if (!value_->is_number()) fail_expected("a number");
  return value_->get<double>();
}

bool Json::boolean() const {
  if (!value_->is_boolean()) fail_expected("true or false");
  return value_->get<bool>();
}

std::string Json::string() const {
  if (!value_->is_string()) fail_expected("a string");
  return value_->get<std::string>();
}

std::string Json::where() const {
  return path_.empty() ? document_->source : fmt::format("{}: key '{}'", document_->source, path_);
}

void Json::fail_expected(std::string_view expected) const {
  fail("{}: expected {}, found {}", where(), expected, describe(*value_));
}

}  // namespace tidemark
