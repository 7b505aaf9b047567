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
// In one piece: a file of that name stays as it is until the new one is complete. What is no
// regular file (a pipe, /dev/null) is written to.
void write_text(const std::filesystem::path& file, std::string_view text);
// What write_text would fail with, and whether `file` is a store of results or one of `inputs`
// (files, or models' folders), for before there is anything to write.
void check_output(const std::filesystem::path& file, std::span<const std::string> inputs = {});

// Whether the folder that `file` is in, or would be in, takes new files from this process.
bool folder_takes_files(const std::filesystem::path& file);

bool is_sqlite(const std::filesystem::path& file);

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
