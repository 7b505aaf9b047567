#include "base/device_name.h"

#include <charconv>

namespace tidemark {

std::optional<int> parse_device(std::string_view text) {
  if (text == "cpu") return -1;
  if (text == "cuda") return 0;
  constexpr std::string_view cuda = "cuda:";
  if (!text.starts_with(cuda)) return std::nullopt;
  text.remove_prefix(cuda.size());
  int index = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (error != std::errc() || end != text.data() + text.size() || index < 0) return std::nullopt;
  return index;
}

}  // namespace tidemark
