// A progress bar with an estimate of what is left: on a terminal only, never in a pipe.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

#include "report/text.h"

namespace tidemark {

// One line, without its end: "label  ███▌      43 %  12 s left". `elapsed_s` is the time it took to
// get to `done`.
std::string progress_line(std::string_view label, double done, double elapsed_s, int width);

class ProgressBar {
 public:
  // Silent when the stream is no terminal.
  explicit ProgressBar(std::FILE* = stderr);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // `done` in [0, 1]. Draws at most ten times a second.
  void show(std::string_view label, double done);
  // Wipes the line, so that other output can follow; the next show() draws it again.
  void clear();

 private:
  std::FILE* file_;
  bool terminal_;
  bool drawn_ = false;
  double start_s_ = 0, last_s_ = 0;
};

}  // namespace tidemark
