// The program as a shell runs it, for tests of its exit codes and what it prints.
#pragma once

#include <string>
#include <vector>

namespace tidemark {

struct Ran {
  int code = -1;
  std::string out, err;
};

// `environment`: assignments as a shell takes them before a command.
Ran tidemark(const std::string& arguments, const std::string& environment = "");

// The exit status of a script in which $TIDEMARK is the program.
int shell(const std::string& script);

// One clear line that names the thing and what was expected, exit code 2, no crash.
void expect_error(const std::string& arguments, const std::vector<std::string>& words);

}  // namespace tidemark
