// Read-only access to JSON that knows where each value stands, so that an error can say it:
// "config.json: key 'rope_parameters.factor': expected a number, found a string 'x'".
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace tidemark {

class Json {
 public:
  // `source` names the text in errors. Beyond the standard it takes the bare Infinity and NaN that
  // Python writes; it refuses nesting deeper than 64 levels and a key that appears twice.
  static Json parse(std::string_view text, std::string source);
  static Json read(const std::filesystem::path& file);

  bool is_object() const;
  bool is_array() const;
  bool is_string() const;
  bool has(std::string_view key) const;       // a member of this object, and not null
  bool has_null(std::string_view key) const;  // a member of this object, and null

  Json operator[](std::string_view key) const;  // fails when missing
  Json operator[](size_t index) const;
  size_t size() const;                    // elements of an array; fails on anything else
  std::vector<std::string> keys() const;  // of an object, sorted; fails on anything else

  // 64.0 is taken as 64.
  int64_t integer(int64_t least = std::numeric_limits<int64_t>::min(),
                  int64_t most = std::numeric_limits<int64_t>::max()) const;
  // May be infinite or NaN: bare, or as transformers 5 writes it, {"__float__": "Infinity"}.
  double number() const;
  bool boolean() const;
  std::string string() const;

  // "SOURCE: key 'PATH': expected EXPECTED, found ..."
  [[noreturn]] void fail_expected(std::string_view expected) const;
  std::string where() const;  // "SOURCE: key 'PATH'", or "SOURCE" at the top

 private:
  struct Document;
  Json(std::shared_ptr<const Document> document, const nlohmann::json* value, std::string path);
  Json member(const nlohmann::json& value, std::string path) const;

  std::shared_ptr<const Document> document_;
  const nlohmann::json* value_;  // inside document_
  std::string path_;
};

}  // namespace tidemark
