// TIDEMARK_MAX_ISA: the most that kernels and oneDNN may use of the processor, so that what a
// lesser machine runs can be tested and measured on this one.
#pragma once

namespace tidemark::cpu {

// Levels of x86, each with all below it.
enum class Isa { baseline, avx2, avx512, avx512_bf16, all };

// What TIDEMARK_MAX_ISA names; `all` when it is not set. Fails on other names.
Isa max_isa();

// Holds Highway's dispatch and oneDNN to max_isa(). To be called before either has chosen anything;
// calls after the first do nothing.
void apply_max_isa();

}  // namespace tidemark::cpu
