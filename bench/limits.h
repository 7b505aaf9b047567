// What the machine can do at best: the ceilings that kernels are compared with. Each call does one
// piece of work on `threads` threads and returns how much it was; the caller times it.
#pragma once

#include <cstdint>

namespace tidemark::cpu {

int64_t multiply_adds(int threads);  // fp32 operations, two per multiply-add
int64_t exponentials(int threads);   // as our kernels compute them
// Bytes moved in 256 MiB, past any cache.
int64_t read_memory(int threads);
int64_t update_memory(int threads);  // in place: every line is read and written once
int64_t copy_memory(int threads);

}  // namespace tidemark::cpu
