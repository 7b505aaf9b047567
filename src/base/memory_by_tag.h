// Bytes by what they are for. The sum is the memory a plan needs.
#pragma once

#include <array>
#include <cstdint>

#include "base/vocab.h"

namespace tidemark {

struct MemoryByTag {
  std::array<int64_t, tag_count> bytes{};
  int64_t& operator[](Tag tag) { return bytes[static_cast<size_t>(tag)]; }
  int64_t operator[](Tag tag) const { return bytes[static_cast<size_t>(tag)]; }
  int64_t total() const {
    int64_t sum = 0;
    for (int64_t b : bytes) sum += b;
    return sum;
  }
  bool operator==(const MemoryByTag&) const = default;
};

}  // namespace tidemark
