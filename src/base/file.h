// Files: whole as text, or mapped read-only.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace tidemark {

// Without "." and "..", doubled or trailing slashes, as far as the text alone tells: no link is
// followed, nothing needs to exist.
std::string normal_path(const std::filesystem::path&);

std::string read_text(const std::filesystem::path& file);
void write_text(const std::filesystem::path& file, std::string_view text);

// A whole file in memory, read by the system page by page as it is touched.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& file);
  MappedFile(MappedFile&&) noexcept;
  MappedFile& operator=(MappedFile&&) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace tidemark
