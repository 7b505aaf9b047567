#include "base/cpu_model.h"

#include <gtest/gtest.h>

namespace tidemark {
namespace {

TEST(CpuModel, OfX86) {
  EXPECT_EQ(
      cpu_model("processor\t: 0\nvendor_id\t: GenuineIntel\nmodel\t\t: 143\n"
                "model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz\n\n"
                "processor\t: 1\nmodel name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz\n"),
      "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz");
}

// As a Raspberry Pi 5 and a machine of unlike cores write it.
TEST(CpuModel, OfArm) {
  const std::string core = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n";
  EXPECT_EQ(cpu_model(core + core + "Model\t\t: Raspberry Pi 5 Model B Rev 1.0\n"),
            "Raspberry Pi 5 Model B Rev 1.0 (2 x ARM Cortex-A76)");
  EXPECT_EQ(cpu_model(core + "CPU implementer : 0x61\nCPU part : 0x022\n"),
            "1 x ARM Cortex-A76 + 1 x ARM implementer 0x61 part 0x022");
  EXPECT_EQ(cpu_model(""), "unknown");
}

}  // namespace
}  // namespace tidemark
