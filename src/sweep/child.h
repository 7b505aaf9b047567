// One command in a process of its own, under limits, so that whatever happens to it happens to it
// alone.
#pragma once

#include <csignal>
#include <cstdint>
#include <string>
#include <vector>

namespace tidemark {

struct ChildLimits {
  double time_s = 0;         // 0: none
  int64_t memory_bytes = 0;  // it may take, files that it maps apart; 0: no limit
};

// How often the user asked to stop; signal handlers raise it. At 2 a running child is killed.
using StopRequests = volatile std::sig_atomic_t;

enum class ChildEnd { exited, signalled, timed_out, stopped };

struct ChildResult {
  ChildEnd end = ChildEnd::exited;
  int status = 0;           // exited: the exit status; signalled: the signal
  bool kernel_oom = false;  // killed while the kernel's out-of-memory killer was at work
  std::string output;       // standard output
  std::string error_tail;   // the last line of standard error
};

// Runs `command` (a path and its arguments) to its end. The child, and what it starts, die with
// this process. Linux.
ChildResult run_child(const std::vector<std::string>& command, const ChildLimits& limits,
                      const StopRequests& stop_requests);

}  // namespace tidemark
