// Whether the processors were a measurement's own. Threads that wait for one another suffer most
// from a program beside them: one that has lost its processor holds up every operator.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace tidemark {

// Seconds that the threads of a process could have run and did not, because something else had the
// processors: second number of schedstat in each folder of `tasks`. nullopt: the system does not
// tell.
std::optional<double> processor_wait_s(const std::filesystem::path& tasks = "/proc/self/task");

// For Record::flags, when `threads` threads waited for more than a hundredth of `wall_s`.
std::optional<std::string> wait_flag(double waited_s, double wall_s, int64_t threads);

}  // namespace tidemark
