// Reading the small files of sysfs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tidemark {

std::optional<int64_t> read_integer(const std::filesystem::path& file);
// The first line; empty when there is none.
std::string read_line(const std::filesystem::path& file);
// The entries whose names begin with `prefix`, sorted.
std::vector<std::filesystem::path> entries(const std::filesystem::path& folder,
                                           std::string_view prefix);

}  // namespace tidemark
