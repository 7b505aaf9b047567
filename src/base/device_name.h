// A device as it is asked for.
#pragma once

#include <optional>
#include <string_view>

namespace tidemark {

// -1 for "cpu", N for "cuda:N", 0 for "cuda".
std::optional<int> parse_device(std::string_view);

inline constexpr int most_threads = 4096;

}  // namespace tidemark
