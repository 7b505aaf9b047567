// While one lives, its thread computes with numbers below 1.2e-38 as zero, like AMX and bf16 dot
// products do anyway. Decays over many positions underflow all the time, and processors take up to
// a hundred cycles more for a vector with such a number in it.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace tidemark::cpu {

class FlushTiny {
 public:
  FlushTiny() : before_(control()) { set_control(before_ | flush); }
  ~FlushTiny() { set_control(before_); }
  FlushTiny(const FlushTiny&) = delete;
  FlushTiny& operator=(const FlushTiny&) = delete;

 private:
#if defined(__x86_64__)
  static constexpr uint64_t flush = 0x8040;  // MXCSR: results (15) and inputs (6)
  static uint64_t control() {
    return _mm_getcsr();
  }
  static void set_control(uint64_t value) {
    _mm_setcsr(static_cast<unsigned>(value));
  }
#elif defined(__aarch64__)
  static constexpr uint64_t flush = uint64_t{1} << 24;  // FPCR.FZ: both
  static uint64_t control() {
    uint64_t value = 0;
    asm volatile("mrs %0, fpcr" : "=r"(value));
    return value;
  }
  static void set_control(uint64_t value) {
    asm volatile("msr fpcr, %0" ::"r"(value));
  }
#else
  static constexpr uint64_t flush = 0;
  static uint64_t control() {
    return 0;
  }
  static void set_control(uint64_t) {}
#endif
  uint64_t before_;
};

}  // namespace tidemark::cpu
