// What the programs behind the performance pages share: bench/h200 and bench/cpu put the pages
// together (bench/page.sh).
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "base/error.h"
#include "measure/provenance.h"

namespace tidemark {

inline std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text.append(text.empty() ? "" : ", ").append(part);
  return text;
}

// Of which build, and when.
inline std::string origin(const Provenance& p) {
  return fmt::format("Commit {}{}, {}, {}.", p.commit.substr(0, 12), p.dirty ? " with changes" : "",
                     p.compiler, p.date);
}

// The body of main: what fails ends as one line on stderr, for the row that names it.
template <class Run>
int run_page_program(const Run& run) {
  try {
    run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}

}  // namespace tidemark
