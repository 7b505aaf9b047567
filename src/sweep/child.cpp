#include "sweep/child.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>

#include "base/error.h"
#include "base/text.h"

namespace tidemark {
namespace {

using Clock = std::chrono::steady_clock;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

struct Pipe {
  Pipe() : Pipe(make()) {}
  Descriptor read, write;

 private:
  explicit Pipe(std::array<int, 2> ends) : read(ends[0]), write(ends[1]) {}
  static std::array<int, 2> make() {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) fail("pipe: {}", std::strerror(errno));
    return ends;
  }
};

// Processes the kernel has killed for memory since it started: proc(5), vmstat.
int64_t kernel_oom_kills() {
  std::ifstream file("/proc/vmstat");
  std::string key;
  int64_t value = 0;
  while (file >> key >> value)
    if (key == "oom_kill") return value;
  return 0;
}

// Between fork and exec: async-signal-safe calls only.
[[noreturn]] void become(char* const* arguments, const ChildLimits& limits, int output, int errors,
                         pid_t parent) {
  setpgid(0, 0);  // Ctrl-C goes to the sweep, which decides
  signal(SIGPIPE, SIG_DFL);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // the parent died before the line above
  dup2(output, STDOUT_FILENO);
  dup2(errors, STDERR_FILENO);
  // When memory runs out, the kernel shall take the cell and not the sweep.
  const int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (score >= 0) {
    [[maybe_unused]] const ssize_t written = write(score, "1000", 4);
    close(score);
  }
  if (limits.memory_bytes > 0) {
    const rlimit limit{static_cast<rlim_t>(limits.memory_bytes),
                       static_cast<rlim_t>(limits.memory_bytes)};
    setrlimit(RLIMIT_DATA, &limit);  // a checkpoint that is mapped is none of it
  }
  const rlimit no_core{0, 0};  // a crash is expected; its core is as large as the model
  setrlimit(RLIMIT_CORE, &no_core);
  execv(arguments[0], arguments);
  const char* text = std::strerror(errno);
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, std::strlen(text));
  _exit(127);
}

// Reads what is there; closes at the end of the stream.
void drain(Descriptor& from, std::string& into) {
  std::array<char, 65536> buffer;
  const ssize_t count = read(from.get(), buffer.data(), buffer.size());
  if (count > 0) {
    into.append(buffer.data(), static_cast<size_t>(count));
  } else if (count == 0 || errno != EINTR) {
    from.close();
  }
}

std::string last_line(std::string_view text) {
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  return as_utf8(text.substr(text.rfind('\n') + 1));  // a store holds UTF-8 alone
}

}  // namespace

ChildResult run_child(const std::vector<std::string>& command, const ChildLimits& limits,
                      const StopRequests& stop_requests) {
  std::vector<char*> arguments;
  for (const std::string& argument : command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);

  Pipe output, errors;
  const int64_t oom_kills_before = kernel_oom_kills();
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) fail("fork: {}", std::strerror(errno));
  if (child == 0) become(arguments.data(), limits, output.write.get(), errors.write.get(), parent);
  setpgid(child, child);  // both do it, so that neither depends on who is first
  output.write.close();
  errors.write.close();

  ChildResult result;
  std::string error_text;
  const auto start = Clock::now();
  int status = 0;
  bool killed = false, reaped = false;
  while (!reaped) {
    const double elapsed_s = std::chrono::duration<double>(Clock::now() - start).count();
    if (!killed && limits.time_s > 0 && elapsed_s >= limits.time_s)
      result.end = ChildEnd::timed_out;
    if (!killed && stop_requests >= 2) result.end = ChildEnd::stopped;
    if (!killed && result.end != ChildEnd::exited) {
      kill(-child, SIGKILL);
      killed = true;
    }
    // Waking once a second does not disturb what is measured. The end of both streams wakes too;
    // then the child is about to end.
    const bool open = output.read.is_open() || errors.read.is_open();
    double wait_s = open ? 1.0 : 0.001;
    if (limits.time_s > 0) wait_s = std::min(wait_s, std::max(limits.time_s - elapsed_s, 0.001));
    std::array<pollfd, 2> watched = {
        {{output.read.get(), POLLIN, 0}, {errors.read.get(), POLLIN, 0}}};
    const int ready = poll(watched.data(), watched.size(), static_cast<int>(wait_s * 1000) + 1);
    if (ready > 0) {
      if (watched[0].revents) drain(output.read, result.output);
      if (watched[1].revents) drain(errors.read, error_text);
      if (error_text.size() > 65536) error_text.erase(0, error_text.size() - 4096);
    }
    if (!output.read.is_open() && !errors.read.is_open())
      reaped = waitpid(child, &status, WNOHANG) == child;
  }

  result.error_tail = last_line(error_text);
  if (killed) return result;
  if (WIFSIGNALED(status)) {
    result.end = ChildEnd::signalled;
    result.status = WTERMSIG(status);
    result.kernel_oom = result.status == SIGKILL && kernel_oom_kills() > oom_kills_before;
  } else {
    result.status = WEXITSTATUS(status);
  }
  return result;
}

}  // namespace tidemark
