#include "app/report_study.h"

#include <gtest/gtest.h>

namespace tidemark {
namespace {

Record on(const std::string& device, const std::string& machine, int64_t context) {
  Record r;
  r.cell = {.model = "m", .device = device, .context = context};
  r.provenance.device_name = machine;
  if (device == "cpu") r.provenance.cpu = machine;
  return r;
}

std::vector<std::string> devices(std::vector<Record> records) {
  tell_machines_apart(records);
  std::vector<std::string> names;
  for (const Record& r : records) names.push_back(r.cell.device);
  return names;
}

using Names = std::vector<std::string>;

// Else context 1 of one machine and 2 of the other are drawn as one curve.
TEST(ReportStudy, RecordsOfTwoMachinesAreTwoDevices) {
  EXPECT_EQ(devices({on("cpu", "EPYC", 1), on("cpu", "Xeon", 2), on("cuda:0", "H200", 1)}),
            (Names{"cpu (EPYC)", "cpu (Xeon)", "cuda:0"}));
  EXPECT_EQ(devices({on("cpu", "EPYC", 1), on("cpu", "EPYC", 2)}), (Names{"cpu", "cpu"}));
  Record predicted = on("cpu", "Xeon", 2), dead = on("cpu", "", 3);
  predicted.source = Source::predicted;
  EXPECT_EQ(devices({on("cpu", "EPYC", 1), predicted, dead}), (Names{"cpu", "cpu", "cpu"}));
}

// As records of ARM machines were once kept.
TEST(ReportStudy, AProcessorGoesByItsNameWhateverTheDevices) {
  Record a = on("cpu", "unknown processor", 1), b = a;
  a.provenance.cpu = "Raspberry Pi 5";
  b.provenance.cpu = "4 x ARM Neoverse-V1";
  EXPECT_EQ(devices({a, b}), (Names{"cpu (Raspberry Pi 5)", "cpu (4 x ARM Neoverse-V1)"}));
}

}  // namespace
}  // namespace tidemark
