#include "measure/processor_wait.h"

#include <fmt/format.h>

#include <fstream>

#include "measure/sysfs.h"

namespace tidemark {

std::optional<double> processor_wait_s(const std::filesystem::path& tasks) {
  std::optional<double> waited_s;
  for (const auto& task : entries(tasks, "")) {
    double run_ns = 0, waited_ns = 0;
    std::ifstream file(task / "schedstat");
    if (file >> run_ns >> waited_ns) waited_s = waited_s.value_or(0) + waited_ns * 1e-9;
  }
  return waited_s;
}

std::optional<std::string> wait_flag(double waited_s, double wall_s, int64_t threads) {
  const double share = waited_s / (wall_s * static_cast<double>(threads));
  if (!(share > 0.01)) return std::nullopt;
  return fmt::format("threads waited {:.0f} % of the time for a free processor", 100 * share);
}

}  // namespace tidemark
