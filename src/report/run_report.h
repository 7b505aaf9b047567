// What `tidemark run` prints: where it ran, each record in full, and all of them side by side.
#pragma once

#include <span>
#include <string>

#include "record/record.h"
#include "report/text.h"

namespace tidemark {

// CPU, ISA, threads, memory, system, libraries, compiler, version and commit.
std::string machine_text(const Provenance&, const Style&);

// Times, memory by tag and the operator breakdown of one record; with `operators` every operator.
std::string record_text(const Record&, bool operators, const Style&);

// One line per record, models together and contexts in order; then the shares of operator groups.
std::string comparison_text(std::span<const Record>, const Style&);

}  // namespace tidemark
