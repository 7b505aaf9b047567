#include "backend/cpu/max_isa.h"

#include <hwy/targets.h>

#include <cstdlib>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <string_view>

#include "base/error.h"

namespace tidemark::cpu {
namespace {

struct Level {
  Isa isa;
  std::string_view name;
  int64_t disabled_targets;  // of Highway, whose better targets of x86 have lower bits
  dnnl::cpu_isa onednn;
};
// Bits 14 and below are x86's; 6 is AVX-512 with bf16 in Highway versions that have it.
constexpr Level levels[] = {
    {Isa::baseline, "baseline", (int64_t{1} << 15) - 1, dnnl::cpu_isa::sse41},
    {Isa::avx2, "avx2", (int64_t{1} << 9) - 1, dnnl::cpu_isa::avx2},
    {Isa::avx512, "avx512", (int64_t{1} << 8) - 1, dnnl::cpu_isa::avx512_core},
    {Isa::avx512_bf16, "avx512_bf16", (int64_t{1} << 6) - 1, dnnl::cpu_isa::avx512_core_bf16},
};

const Level* find_level() {
  const char* wanted = std::getenv("TIDEMARK_MAX_ISA");
  if (!wanted) return nullptr;
  for (const Level& level : levels)
    if (level.name == wanted) return &level;
  fail("TIDEMARK_MAX_ISA: expected baseline, avx2, avx512 or avx512_bf16, found '{}'",
       printable(wanted));
}

}  // namespace

Isa max_isa() {
  const Level* level = find_level();
  return level ? level->isa : Isa::all;
}

void apply_max_isa() {
  static std::once_flag once;
  std::call_once(once, [] {
    const Level* level = find_level();
    if (!level) return;
    hwy::DisableTargets(level->disabled_targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    if (dnnl::set_max_cpu_isa(level->onednn) != dnnl::status::success)
      fail("TIDEMARK_MAX_ISA: this oneDNN cannot be held to {}", level->name);
  });
}

}  // namespace tidemark::cpu
