// Tables of comma-separated values under a header, as data/, tests/data/ and readers' own files
// have them: quoted as in RFC 4180 where a field holds commas, quotes or line ends. Empty lines say
// nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace tidemark {

struct CsvRow {
  int64_t line = 0;  // its first in the file, from 1
  std::vector<std::string> fields{};
};

struct Csv {
  std::string file{};
  std::vector<std::string> columns{};
  std::vector<CsvRow> rows{};  // each with a field per column
};

// Errors of these name file and line.
Csv read_csv(const std::filesystem::path&);
bool has_column(const Csv&, std::string_view column);
const std::string& text_at(const Csv&, const CsvRow&, std::string_view column);
double number_at(const Csv&, const CsvRow&, std::string_view column);
int64_t integer_at(const Csv&, const CsvRow&, std::string_view column);

// Of one such line.
std::vector<std::string> split_fields(std::string_view line);
// A finite number with nothing before or after it.
double parse_number(std::string_view text);

}  // namespace tidemark
