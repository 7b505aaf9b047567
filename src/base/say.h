// Lines for people on standard error. Where they cannot be written they are lost: a log that has
// gone away ends nothing.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <utility>

namespace tidemark {

template <class... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  std::fputs((fmt::format(format, std::forward<Args>(args)...) + "\n").c_str(), stderr);
}

}  // namespace tidemark
