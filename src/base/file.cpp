#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <utility>

#include "base/error.h"

namespace tidemark {
namespace {

// A pipe or a device is not replaced, nor is what lies in a folder that takes no new files.
bool written_in_place(const std::filesystem::path& file) {
  std::error_code error;
  const auto status = std::filesystem::status(file, error);
  return exists(status) && (!is_regular_file(status) || !folder_takes_files(file));
}

// `named`: what the user calls it.
void write_all(const std::filesystem::path& file, std::string_view text,
               const std::filesystem::path& named) {
  const auto fail_errno = [&] {
    fail("{}: cannot be written: {}", named.string(), strerror(errno));
  };
  std::FILE* stream = std::fopen(file.c_str(), "wb");
  if (!stream) fail_errno();
  const bool written = std::fwrite(text.data(), 1, text.size(), stream) == text.size();
  const int error = errno;
  if (std::fclose(stream) == 0 && written) return;
  if (!written) errno = error;
  fail_errno();
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& file) {
  const auto fail_errno = [&] { fail("{}: cannot be read: {}", file.string(), strerror(errno)); };
  const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) fail_errno();
  struct stat status {};
  fstat(descriptor, &status);
  if (!S_ISREG(status.st_mode)) {
    close(descriptor);
    fail("{}: expected a regular file", file.string());
  }
  const auto size = static_cast<size_t>(status.st_size);
  void* data = nullptr;
  if (size > 0) data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  close(descriptor);
  if (data == MAP_FAILED) fail_errno();
  bytes_ = {static_cast<const std::byte*>(data), size};
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

bool folder_takes_files(const std::filesystem::path& file) {
  const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : ".";
  return faccessat(AT_FDCWD, folder.c_str(), W_OK | X_OK, AT_EACCESS) == 0;
}

std::string normal_path(const std::filesystem::path& path) {
  const std::filesystem::path normal = path.lexically_normal();
  return (normal.has_filename() ? normal : normal.parent_path()).string();
}

std::string read_text(const std::filesystem::path& file) {
  const MappedFile mapped(file);
  return {reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size()};
}

bool is_sqlite(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) return false;
  std::ifstream stream(file, std::ios::binary);
  std::string head(15, '\0');
  stream.read(head.data(), static_cast<std::streamsize>(head.size()));
  return head == "SQLite format 3";
}

void check_output(const std::filesystem::path& file, std::span<const std::string> inputs) {
  std::error_code error;
  if (std::filesystem::is_directory(file, error))
    fail("{}: expected a file to write, found a folder", file.string());
  if (is_sqlite(file))
    fail("{}: expected a file to write, found a store of results", file.string());
  for (const std::string& input : inputs)
    for (const std::string& read : {input, input + "/config.json"})
      if (!input.empty() && std::filesystem::equivalent(file, read, error))
        fail("{}: expected a file to write, found what is read", file.string());
  const bool there = std::filesystem::exists(file, error);
  if (there ? access(file.c_str(), W_OK) != 0 : !folder_takes_files(file))
    fail("{}: cannot be written: {}", file.string(), strerror(errno));
}

void write_text(const std::filesystem::path& file, std::string_view text) {
  check_output(file);
  if (written_in_place(file)) return write_all(file, text, file);
  std::error_code error;
  // A link stays a link, and the new file beside its target is on the same file system.
  const std::filesystem::path target = std::filesystem::weakly_canonical(file, error);
  const std::filesystem::path fresh = fmt::format("{}.{}.tmp", target.string(), getpid());
  try {
    write_all(fresh, text, file);
    const auto status = std::filesystem::status(target, error);
    if (exists(status)) std::filesystem::permissions(fresh, status.permissions(), error);
    if (std::rename(fresh.c_str(), target.c_str()) != 0)
      fail("{}: cannot be written: {}", file.string(), strerror(errno));
  } catch (const Error&) {
    std::filesystem::remove(fresh, error);
    throw;
  }
}

}  // namespace tidemark
