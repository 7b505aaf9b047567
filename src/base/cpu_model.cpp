#include "base/cpu_model.h"

#include <fmt/format.h>

#include <fstream>
#include <map>
#include <sstream>
#include <utility>

#include "base/key_values.h"

namespace tidemark {
namespace {

// Arm's part numbers (MIDR_EL1), of implementer 0x41, for the cores of common boards.
std::string arm_part(std::string_view implementer, std::string_view part) {
  static constexpr std::pair<std::string_view, std::string_view> parts[] = {
      {"0xd03", "Cortex-A53"},  {"0xd05", "Cortex-A55"},   {"0xd07", "Cortex-A57"},
      {"0xd08", "Cortex-A72"},  {"0xd0b", "Cortex-A76"},   {"0xd0c", "Neoverse-N1"},
      {"0xd40", "Neoverse-V1"}, {"0xd42", "Cortex-A78AE"}, {"0xd49", "Neoverse-N2"},
      {"0xd4f", "Neoverse-V2"}};
  if (implementer == "0x41")
    for (const auto& [number, name] : parts)
      if (number == part) return fmt::format("ARM {}", name);
  return fmt::format("ARM implementer {} part {}", implementer, part);
}

}  // namespace

std::string cpu_model(std::string_view cpuinfo) {
  std::string x86, board, implementer;
  std::map<std::string, int> cores;  // ARM: one entry per kind of core
  for_each_pair(cpuinfo, ':', [&](std::string_view key, std::string_view value) {
    if (key == "model name" && x86.empty()) x86 = value;
    if (key == "Model") board = value;
    if (key == "CPU implementer") implementer = value;
    if (key == "CPU part") ++cores[arm_part(implementer, value)];
  });
  if (!x86.empty()) return x86;
  std::string arm;
  for (const auto& [core, count] : cores)
    arm += fmt::format("{}{} x {}", arm.empty() ? "" : " + ", count, core);
  if (board.empty()) return arm.empty() ? "unknown" : arm;
  return arm.empty() ? board : fmt::format("{} ({})", board, arm);
}

std::string this_cpu() {
  std::ifstream file("/proc/cpuinfo");
  std::ostringstream text;
  text << file.rdbuf();
  return cpu_model(text.str());
}

}  // namespace tidemark
