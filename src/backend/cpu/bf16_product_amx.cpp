// AMX: tiles as instructions. Written as assembly, because GCC 12's intrinsics take tile numbers as
// tokens and do not tell the compiler what memory they read.
#include "backend/cpu/bf16_product_tiles.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace tidemark::cpu {
namespace {

struct AmxTiles {
  template <int t>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(t));
  }
  template <int t>
  static void load(const void* from, int64_t row_bytes) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(row_bytes), "i"(t) : "memory");
  }
  template <int t>
  static void pass(const void* from, int64_t row_bytes) {
    asm volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(row_bytes), "i"(t) : "memory");
  }
  template <int t>
  static void store(void* to, int64_t row_bytes) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(row_bytes), "i"(t) : "memory");
  }
  template <int sum, int left, int right>
  static void multiply() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sum), "i"(left), "i"(right));
  }
};

struct AmxInt8Tiles : AmxTiles {
  template <int sum, int left, int right>
  static void multiply() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sum), "i"(left), "i"(right));
  }
};

// All eight tiles at full size; the layout that LDTILECFG reads.
struct alignas(64) TileConfiguration {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

void configure() {
  static const TileConfiguration configuration;
  asm volatile("ldtilecfg %0" ::"m"(configuration) : "memory");
}

void release() {
  asm volatile("tilerelease" ::: "memory");
}

// CPUID leaf 7: AMX-BF16 is EDX bit 22, AMX-TILE bit 24, AMX-INT8 bit 25. Linux hands the tile
// registers' state (component 18) out to processes that ask (arch_prctl, ARCH_REQ_XCOMP_PERM).
bool available() {
  constexpr unsigned needed = 1U << 22 | 1U << 24 | 1U << 25;
  constexpr long request_permission = 0x1023, tile_data = 18;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  if ((d & needed) != needed) return false;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

}  // namespace

const Bf16Unit* amx_unit() {
  static const Bf16Unit unit{.name = "AMX",
                             .begin = configure,
                             .multiply = multiply_on_tiles<AmxTiles>,
                             .end = release,
                             .multiply_int8 = multiply_on_tiles<AmxInt8Tiles>};
  static const bool found = available();
  return found ? &unit : nullptr;
}

}  // namespace tidemark::cpu

#else

namespace tidemark::cpu {
const Bf16Unit* amx_unit() {
  return nullptr;
}
}  // namespace tidemark::cpu

#endif
