// The CPU backend under TIDEMARK_MAX_ISA. tests/CMakeLists.txt runs this file and the conformance
// suite once per level, in processes of their own: what is dispatched to is chosen once.
#include <gtest/gtest.h>
#include <sys/utsname.h>

#include <cstdlib>
#include <fstream>
#include <oneapi/dnnl/dnnl.hpp>
#include <set>
#include <string>

#include "backend/backend.h"
#include "backend/cpu/bf16_product.h"
#include "golden_folders.h"
#include "op_cases.h"

namespace tidemark {
namespace {

struct Level {
  std::string name;
  std::string flag;               // of /proc/cpuinfo that the level needs
  std::set<std::string> targets;  // of Highway, by version and compiler
  dnnl::cpu_isa onednn;
  std::string added;  // to the name of the instruction set
};
const Level levels[] = {
    {"baseline", "sse4_1", {"SCALAR", "EMU128", "SSE2"}, dnnl::cpu_isa::sse41, ""},
    {"avx2", "avx2", {"AVX2"}, dnnl::cpu_isa::avx2, ""},
    {"avx512", "avx512bw", {"AVX3"}, dnnl::cpu_isa::avx512_core, ""},
    {"avx512_bf16",
     "avx512_bf16",
     {"AVX3", "AVX3_ZEN4"},
     dnnl::cpu_isa::avx512_core_bf16,
     " +BF16"},
};

// Null when the variable is not set.
const Level* level_asked_for() {
  const char* name = std::getenv("TIDEMARK_MAX_ISA");
  for (const Level& level : levels)
    if (name && level.name == name) return &level;
  return nullptr;
}

bool machine_has(const std::string& flag) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string word; file >> word;)
    if (word == flag) return true;
  return false;
}

// Every kernel of every operator runs at the level asked for, no higher and no lower.
TEST(MaxIsa, IsWhatRuns) {
  const Level* level = level_asked_for();
  if (!level) GTEST_SKIP() << "TIDEMARK_MAX_ISA is not set";
  if (!machine_has(level->flag)) GTEST_SKIP() << "this machine has no " << level->flag;
  const auto backend = make_cpu_backend(1, 0);
  const std::string isa = backend->info().isa, target = isa.substr(0, isa.find(' '));
  EXPECT_TRUE(level->targets.contains(target)) << isa;
  EXPECT_EQ(isa, target + level->added);
  EXPECT_EQ(dnnl::get_effective_cpu_isa(), level->onednn);
  EXPECT_EQ(cpu::bf16_unit(), level->name == "avx512_bf16" ? cpu::dot_unit() : nullptr);
  int ours = 0, onednns = 0;
  for (const DType dtype : {DType::f32, DType::bf16, DType::w8a16, DType::w8a8})
    for (const OpCase& c : op_cases(dtype)) {
      backend->attach(c.plan, layout_on(*backend, c.plan));
      const std::string ran = backend->implementation(StepKind::tail, 0);
      backend->detach();
      if (ran.starts_with("oneDNN")) {
        ++onednns;
        continue;
      }
      ++ours;
      EXPECT_EQ(ran.substr(ran.rfind(' ') + 1), target) << c.name << ": " << ran;
    }
  EXPECT_GT(ours, 100);
  EXPECT_GT(onednns, 0);
}

TEST(MaxIsa, IsNeonOnArm) {
  utsname machine{};
  ASSERT_EQ(uname(&machine), 0);
  if (std::string(machine.machine) != "aarch64") GTEST_SKIP() << "this is " << machine.machine;
  EXPECT_EQ(make_cpu_backend(1, 0)->info().isa, "NEON");
}

TEST(CpuGolden, FoldersPassInF32) {
  expect_golden_folders(*make_cpu_backend(1, 0), DType::f32);
}

TEST(CpuGolden, FoldersPassInBf16) {
  expect_golden_folders(*make_cpu_backend(1, 0), DType::bf16);
}

}  // namespace
}  // namespace tidemark
