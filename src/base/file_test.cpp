#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <functional>

#include "base/error.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / fmt::format("tidemark_file_{}", getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path path(const char* name) const { return folder_ / name; }
  size_t files() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  static std::string error_of(const std::function<void()>& body) {
    try {
      body();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  fs::path folder_;
};

TEST_F(FileTest, PathsAreNormalAsText) {
  EXPECT_EQ(normal_path("./a//b/../c/"), "a/c");
  EXPECT_EQ(normal_path("/a/"), "/a");
  EXPECT_EQ(normal_path("a"), "a");
  EXPECT_EQ(normal_path("."), ".");
  EXPECT_EQ(normal_path("/"), "/");
}

TEST_F(FileTest, WritesWholeFilesAndLeavesNothingElse) {
  write_text(path("a"), "one");
  fs::permissions(path("a"), fs::perms::owner_read | fs::perms::owner_write);
  fs::create_symlink("a", path("link"));
  write_text(path("link"), "two");
  EXPECT_EQ(read_text(path("a")), "two");
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(fs::status(path("a")).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(files(), 2U);
  write_text("/dev/null", "gone");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

// A limit on the size of files stands for a full disk.
TEST_F(FileTest, AFullDiskLeavesTheOlderFile) {
  write_text(path("a"), "good");
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  getrlimit(RLIMIT_FSIZE, &limit);
  const rlimit small{1000, limit.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string error = error_of([&] { write_text(path("a"), std::string(100000, 'x')); });
  setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(error, path("a").string() + ": cannot be written: File too large");
  EXPECT_EQ(read_text(path("a")), "good");
  EXPECT_EQ(files(), 1U);
}

TEST_F(FileTest, SaysBeforehandWhatCannotBeWritten) {
  std::ofstream(path("store")) << "SQLite format 3" << std::string(100, '\0');
  std::ofstream(path("input")) << "read";
  fs::create_directories(path("model"));
  std::ofstream(path("model") / "config.json") << "{}";
  const std::array<std::string, 3> inputs = {path("input").string(), path("model").string(), ""};
  const auto expect = [&](const fs::path& file, const std::string& what) {
    EXPECT_EQ(error_of([&] { check_output(file, inputs); }), file.string() + ": " + what);
  };
  expect(path("store"), "expected a file to write, found a store of results");
  expect(path("model"), "expected a file to write, found a folder");
  expect(path("model") / ".." / "input", "expected a file to write, found what is read");
  expect(path("model") / "config.json", "expected a file to write, found what is read");
  expect(path("none") / "a", "cannot be written: No such file or directory");
  EXPECT_EQ(error_of([&] { check_output(path("new"), inputs); }), "");
  EXPECT_EQ(error_of([&] { check_output("/dev/null", inputs); }), "");
  EXPECT_NE(error_of([&] { write_text(path("store"), "text"); }), "");
}

}  // namespace
}  // namespace tidemark
