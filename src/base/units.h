// Sizes and counts as people write and read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tidemark {

// "24GiB", "512MiB", "64KiB", "1000" (bytes), "8GB" (decimal). `what` names the value in errors.
int64_t parse_size(std::string_view what, std::string_view text);

// "4096", "4k" (4096), "1m" (1048576).
int64_t parse_count(std::string_view what, std::string_view text);

// A comma-separated list of counts and ranges: "512,2k", "1k..64k*2" (doubling, both ends),
// "1k..4k+1k" (adding).
std::vector<int64_t> parse_counts(std::string_view what, std::string_view text);

std::string format_size(int64_t bytes);     // "942.29 MiB"
std::string format_time(double seconds);    // "12.3 ms"
std::string format_quantity(double value);  // three digits and a prefix: "1.23 G"

}  // namespace tidemark
