// One exception type for what ends a command, and one data type for what is expected and studied.
#pragma once

#include <fmt/format.h>

#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace tidemark {

// Ends a command with one clear line. Context is prepended from the inside out:
// "model.safetensors: tensor 'x': expected shape [2, 3], found [3, 2]".
class Error : public std::exception {
 public:
  explicit Error(std::string message) : message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }
  void add_context(std::string_view context) {
    message_ = fmt::format("{}: {}", context, message_);
  }

 private:
  std::string message_;
};

template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

// Text from outside as it may stand inside a one-line message: no control characters, not too long.
inline std::string printable(std::string_view text) {
  constexpr size_t longest = 120;
  std::string out;
  for (char c : text.substr(0, longest)) {
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    out += control ? fmt::format("\\x{:02x}", static_cast<unsigned>(c)) : std::string(1, c);
  }
  if (text.size() > longest) out += "...";
  return out;
}

// Runs `body`; an Error that leaves it carries `context` in front.
template <class Body>
auto with_context(std::string_view context, Body&& body) {
  try {
    return body();
  } catch (Error& error) {
    error.add_context(context);
    throw;
  }
}

// What became of one measurement. Running out of memory is a result, not an exception.
enum class Outcome { ok, out_of_memory, unsupported, timed_out, failed };

// Process exit codes (docs/cli.md).
// ok; the answer is no (verify, compare, limit, sweep); a wrong request or input, or no room.
enum ExitCode : int { exit_ok = 0, exit_negative = 1, exit_error = 2 };

}  // namespace tidemark
