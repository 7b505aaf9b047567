// Sizes and counts as people write and read them. Times: report/text.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tidemark {

// "24GiB", "512 MiB", "1.5GiB", "4096": bytes. Binary units only (B, KiB, MiB, GiB, TiB).
int64_t parse_bytes(std::string_view text);
// "512", "8k" = 8192, "1m" = 1048576: a number of tokens, at least 1.
int64_t parse_tokens(std::string_view text);
// "512,2048,8k"; "1k..64k*2" doubles from 1k to at most 64k, "1k..8k+1k" adds 1k. In the order
// given, each value once.
std::vector<int64_t> parse_token_list(std::string_view text);

// "942.29 MiB". A column of sizes compares more easily when no row is in a larger unit than `most`.
std::string format_bytes(int64_t bytes, std::string_view most = "TiB");
std::string format_count(double count);     // "1.24 G", decimal steps; "512"
std::string format_tokens(int64_t tokens);  // as parse_tokens reads it: "8k", "1000"

}  // namespace tidemark
