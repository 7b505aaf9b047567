#include "sweep/fake.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"

namespace tidemark {
namespace {

constexpr std::string_view prefix = "fake:";

Summary summary_around(double center, int64_t n) {
  Summary s;
  for (int64_t i = 0; i < n; ++i)
    s.samples.push_back(center * (1 + 0.0005 * static_cast<double>((i * 14) % (2 * n) - n)));
  std::vector<double> sorted = s.samples;
  std::sort(sorted.begin(), sorted.end());
  s.median = sorted[sorted.size() / 2];
  s.p5 = s.ci_low = sorted.front();
  s.p95 = s.ci_high = sorted.back();
  s.ci_coverage = 0.99;
  s.n = n;
  return s;
}

// Ends at 8 GiB where nothing limits the process: a test shall not take the machine down.
[[noreturn]] void take_all_memory() {
  std::vector<std::unique_ptr<char[]>> taken;
  for (int i = 0; i < 128; ++i) taken.push_back(std::make_unique<char[]>(64 << 20));
  throw std::bad_alloc();
}

// The number after "fake:what:".
double number_after(std::string_view text) {
  const std::string number(text.substr(text.find(':') + 1));
  return std::strtod(number.c_str(), nullptr);
}

}  // namespace

bool is_fake(std::string_view model) {
  return model.substr(0, prefix.size()) == prefix;
}

void run_fake(Record& record) {
  const Cell& cell = record.cell;
  const std::string_view what = std::string_view(cell.model).substr(prefix.size());
  record.weights = "fake";
  record.prompt = "fake";
  record.flags = {"fake"};
  try {
    if (what == "oom") take_all_memory();
  } catch (const std::bad_alloc&) {
    record.outcome = Outcome::out_of_memory;
    record.reason = "fake: no more memory";
    return;
  }
  if (what == "crash") raise(SIGSEGV);
  if (what == "abort") std::abort();
  if (what == "error") fail("fake error of context {}", cell.context);
  if (what.starts_with("exit:")) std::_Exit(static_cast<int>(number_after(what)));
  if (what.starts_with("sleep:"))
    std::this_thread::sleep_for(std::chrono::duration<double>(number_after(what)));
  if (what == "unsupported") {
    record.outcome = Outcome::unsupported;
    record.reason = "fake: no such kernel";
    return;
  }
  const char* scale_text = std::getenv("TIDEMARK_FAKE_SCALE");
  const double scale = scale_text ? std::strtod(scale_text, nullptr) : 1.0;
  const auto tokens = static_cast<double>(cell.batch * cell.context);
  record.metrics.ttft_s = summary_around(scale * 1e-6 * tokens, 15);
  if (cell.new_tokens > 1) record.metrics.tpot_s = summary_around(scale * 1e-4, 15);
}

}  // namespace tidemark
