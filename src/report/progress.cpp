#include "report/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"

namespace tidemark {
namespace {

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string left_text(double seconds) {
  const auto s = static_cast<int64_t>(std::ceil(seconds));
  if (s < 60) return fmt::format("{} s left", s);
  if (s < 3600) return fmt::format("{} min {:02} s left", s / 60, s % 60);
  return fmt::format("{} h {:02} min left", s / 3600, s / 60 % 60);
}

}  // namespace

std::string progress_line(std::string_view label, double done, double elapsed_s, int width) {
  done = std::clamp(done, 0.0, 1.0);
  // Too early there is nothing to estimate from.
  const std::string left = done > 0.01 ? left_text(elapsed_s * (1 - done) / done) : "";
  const std::string tail = fmt::format("{:3.0f} %  {}", std::floor(done * 100), left);
  const int bar_width = std::clamp(width - 60, 8, 30);
  const int label_width = std::max(0, width - bar_width - 30);
  const std::string text = clipped(printable(label), label_width);
  const std::string drawn = bar(done, bar_width);
  return fmt::format("{}  {}{}  {}", text, drawn,
                     std::string(static_cast<size_t>(bar_width - display_width(drawn)), ' '), tail);
}

ProgressBar::ProgressBar(std::FILE* file)
    : file_(file), terminal_(can_redraw(file)), start_s_(now_s()) {}

ProgressBar::~ProgressBar() {
  clear();
}

void ProgressBar::show(std::string_view label, double done) {
  if (!terminal_) return;
  const double now = now_s();
  if (drawn_ && now - last_s_ < 0.1) return;
  last_s_ = now;
  drawn_ = true;
  const std::string line = progress_line(label, done, now - start_s_, style_of(file_).width);
  std::fputs(fmt::format("\r\033[K{}", line).c_str(), file_);
  std::fflush(file_);
}

void ProgressBar::clear() {
  if (!drawn_) return;
  drawn_ = false;
  std::fputs("\r\033[K", file_);
  std::fflush(file_);
}

}  // namespace tidemark
