// The head of a report: what was measured on what, and what gave no result.
#pragma once

#include "report/figures/figure.h"

namespace tidemark {

struct StudySummary {
  std::vector<std::string> lines{};  // sentences
  DataTable machines{};              // one row per machine, build and source
  DataTable failures{};              // outcomes that are not ok, with their reasons
  DataTable flagged{};               // results marked by clock, throttling or temperature
};

StudySummary summarize(const Study&);

}  // namespace tidemark
