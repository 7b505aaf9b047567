// Where and with what a result was made, and what the process took. Never the host's name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "record/record.h"

namespace tidemark {

// CPU, memory, system, compiler, version, commit and the time now; the device's part (isa, threads,
// libraries) comes from its backend.
Provenance machine_provenance();

// The commit the program was built from, "unknown" outside git, and whether tracked files differed.
struct Commit {
  std::string_view hash;
  bool dirty;
};
Commit built_from();

// The memory the process has taken, whether it was touched or not, without files that it maps;
// nullopt where the system does not say.
std::optional<int64_t> taken_memory_bytes();

// The process's resident high-water mark since its start or the last reset; nullopt where the
// system does not say.
std::optional<int64_t> peak_rss_bytes();
// Starts the high-water mark anew at what is resident now; false where that is not permitted.
bool reset_peak_rss();

}  // namespace tidemark
