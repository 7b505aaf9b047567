// Memory of one tag, taken once and never grown, with a measured high-water mark.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/error.h"
#include "base/vocab.h"
#include "plan/memory.h"

namespace tidemark {

// The device lacks memory for a plan: a result to record, not a defect.
class OutOfMemory : public Error {
 public:
  using Error::Error;
  // The first tag that does not fit; what the plan takes up to and with it.
  OutOfMemory(Tag, int64_t wanted_bytes, int64_t available_bytes);
};

// Bytes this process may still take: the least of MemAvailable and the limits of its control group.
int64_t available_host_bytes();
// What there is to take in all: the least of the machine's memory and those limits.
int64_t host_memory_bytes();

// Throws OutOfMemory naming the tag at which the arenas, taken in order, exceed `available_bytes`.
void check_fits(const MemoryByTag& wanted, int64_t available_bytes);

class Arena {
 public:
  Arena() = default;
  // Pages are touched here, by `threads` threads, so that no run pays for them. They hold NaNs: a
  // kernel that reads what nobody wrote shows.
  Arena(Tag tag, int64_t size_bytes, int threads);
  ~Arena();
  Arena(Arena&&) noexcept;
  Arena& operator=(Arena&&) noexcept;

  // The bytes [offset, offset + count), which become part of the high-water mark, in whole units of
  // a tensor's alignment.
  std::byte* at(int64_t offset_bytes, int64_t count_bytes);
  int64_t size_bytes() const { return size_bytes_; }
  int64_t high_water_bytes() const { return high_water_bytes_.load(std::memory_order_relaxed); }

 private:
  void swap(Arena&) noexcept;
  Tag tag_ = Tag::workspace;
  std::byte* data_ = nullptr;
  int64_t size_bytes_ = 0;
  std::atomic<int64_t> high_water_bytes_ = 0;
};

}  // namespace tidemark
