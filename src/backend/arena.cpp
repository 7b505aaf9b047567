#include "backend/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>
#include <utility>

#include "backend/cpu/parallel.h"
#include "base/units.h"

namespace tidemark {
namespace {

constexpr int64_t unlimited = std::numeric_limits<int64_t>::max();

int64_t meminfo_bytes(std::string_view wanted) {
  std::ifstream file("/proc/meminfo");
  std::string key;
  int64_t kib = 0;
  while (file >> key >> kib) {
    if (key == wanted) return kib * 1024;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return unlimited;
}

// A number in a one-line file; "max", nothing or no file: nullopt.
std::optional<int64_t> read_number(const std::string& path) {
  std::ifstream file(path);
  int64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

enum class Of { limit, headroom };

// What the control group at `folder` and those above it allow, or still allow.
int64_t group_bytes(Of of, std::string folder, const char* limit, const char* usage) {
  int64_t bytes = unlimited;
  while (true) {
    const auto most = read_number(folder + "/" + limit);
    const auto used = of == Of::limit ? 0 : read_number(folder + "/" + usage);
    if (most && used) bytes = std::min(bytes, std::max<int64_t>(0, *most - *used));
    if (folder == "/sys/fs/cgroup" || folder == "/sys/fs/cgroup/memory") return bytes;
    folder.resize(folder.rfind('/'));
  }
}

int64_t control_group_bytes(Of of) {
  // Lines "id:controllers:path"; version 2 has one with empty controllers.
  std::ifstream file("/proc/self/cgroup");
  int64_t bytes = unlimited;
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    if (path == "/" || path.starts_with("/..")) path.clear();
    if (controllers.empty())
      bytes =
          std::min(bytes, group_bytes(of, "/sys/fs/cgroup" + path, "memory.max", "memory.current"));
    else if (("," + controllers + ",").find(",memory,") != std::string::npos)
      bytes = std::min(bytes, group_bytes(of, "/sys/fs/cgroup/memory" + path,
                                          "memory.limit_in_bytes", "memory.usage_in_bytes"));
  }
  return bytes;
}

}  // namespace

OutOfMemory::OutOfMemory(Tag tag, int64_t wanted_bytes, int64_t available_bytes)
    : Error(
          fmt::format("out of memory at {}: up to there the plan needs {}, {} bytes more than the "
                      "{} that it may take",
                      name(tag), format_bytes(wanted_bytes), wanted_bytes - available_bytes,
                      format_bytes(available_bytes))) {}

int64_t available_host_bytes() {
  return std::min(meminfo_bytes("MemAvailable:"), control_group_bytes(Of::headroom));
}

int64_t host_memory_bytes() {
  return std::min(meminfo_bytes("MemTotal:"), control_group_bytes(Of::limit));
}

void check_fits(const MemoryByTag& wanted, int64_t available_bytes) {
  int64_t sum = 0;
  for (const Tag tag : all_tags) {
    sum += wanted[tag];
    if (sum > available_bytes) throw OutOfMemory(tag, sum, available_bytes);
  }
}

Arena::Arena(Tag tag, int64_t size_bytes, int threads) : tag_(tag), size_bytes_(size_bytes) {
  if (size_bytes == 0) return;
  const auto length = static_cast<size_t>(size_bytes);
  void* memory = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)  // a limit of the process (ulimit -v), whatever else is free
    throw OutOfMemory(fmt::format("out of memory at {}: the system refuses the process {}",
                                  name(tag), format_bytes(size_bytes)));
  madvise(memory, length, MADV_HUGEPAGE);  // a wish: fewer TLB misses where it is granted
  data_ = static_cast<std::byte*>(memory);
  parallel_ranges(threads, size_bytes, int64_t{1} << 20, [&](int64_t begin, int64_t end, int) {
    std::memset(data_ + begin, 0xff, static_cast<size_t>(end - begin));
  });
}

Arena::~Arena() {
  if (data_) munmap(data_, static_cast<size_t>(size_bytes_));
}

Arena::Arena(Arena&& other) noexcept {
  swap(other);
}

Arena& Arena::operator=(Arena&& other) noexcept {
  Arena taken(std::move(other));
  swap(taken);
  return *this;
}

void Arena::swap(Arena& other) noexcept {
  std::swap(tag_, other.tag_);
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  const int64_t mark = high_water_bytes();
  high_water_bytes_ = other.high_water_bytes();
  other.high_water_bytes_ = mark;
}

std::byte* Arena::at(int64_t offset_bytes, int64_t count_bytes) {
  const int64_t end = offset_bytes + count_bytes;
  if (offset_bytes < 0 || count_bytes < 0 || end > size_bytes_)
    fail("arena {}: bytes [{}, {}) wanted, {} taken", name(tag_), offset_bytes, end, size_bytes_);
  constexpr int64_t whole = tensor_alignment_bytes;
  const int64_t mark = std::min((end + whole - 1) / whole * whole, size_bytes_);
  int64_t seen = high_water_bytes();
  while (mark > seen && !high_water_bytes_.compare_exchange_weak(seen, mark)) {
  }
  return data_ + offset_bytes;
}

}  // namespace tidemark
