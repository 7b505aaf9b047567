#include "run_program.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace tidemark {
namespace {

std::string slurp(const std::filesystem::path& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace

Ran tidemark(const std::string& arguments, const std::string& environment) {
  const auto dir = std::filesystem::path(testing::TempDir());
  // With the process in the name: another checkout's tests may be running beside these.
  const auto name = std::string(testing::UnitTest::GetInstance()->current_test_info()->name()) +
                    "." + std::to_string(getpid());
  const auto err = dir / (name + ".err"), out = dir / (name + ".out");
  const std::string command = environment + " " + TIDEMARK_PROGRAM + " " + arguments + " >" +
                              out.string() + " 2>" + err.string() + " </dev/null";
  const int status = std::system(command.c_str());
  Ran ran{WIFEXITED(status) ? WEXITSTATUS(status) : -1, slurp(out), slurp(err)};
  std::filesystem::remove(out);
  std::filesystem::remove(err);
  return ran;
}

int shell(const std::string& script) {
  const int status = std::system(("TIDEMARK='" TIDEMARK_PROGRAM "'\n" + script).c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void expect_error(const std::string& arguments, const std::vector<std::string>& words) {
  SCOPED_TRACE(arguments);
  const Ran ran = tidemark(arguments);
  EXPECT_EQ(ran.code, 2) << ran.err;
  EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
  for (const std::string& word : words)
    EXPECT_NE(ran.err.find(word), std::string::npos) << "'" << word << "' in: " << ran.err;
}

}  // namespace tidemark
