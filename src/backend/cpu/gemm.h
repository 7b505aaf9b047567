// The ways gemm.cpp has to run a product. x [m, k], weight [n, k], bias [n], out [m, n].
#pragma once

#include <optional>
#include <type_traits>

#include "backend/cpu/bf16_product.h"
#include "backend/cpu/context.h"
#include "backend/cpu/int8.h"
#include "backend/cpu/onednn.h"
#include "plan/ops.h"

namespace tidemark::cpu {

inline constexpr int64_t skinny_rows = 8;  // most rows of x the skinny kernel takes

// A Gemm with its tensors found.
struct GemmArgs {
  const void* x;
  const void* weight;
  const void* bias;  // or null
  void* out;
  int64_t m, n, k, x_stride, weight_stride, out_stride;
  float scale;
  bool accumulate, x_f32, out_f32;
  // The halves of the n outputs are what is activated and what that is multiplied by, and out
  // [m, n / 2] is the product: a Glu taken along. Only run_on_unit() knows it.
  std::optional<Act> gated = {};
  bool streams = false;  // out goes past the caches; who sets it flushes (simd-inl.h, stream_two)
};

// body(rows) with the rows of a skinny product as a constant of the compiler.
template <class Body>
void with_row_count(int64_t rows, const Body& body) {
  switch (rows) {
    case 1:
      return body(std::integral_constant<int, 1>());
    case 2:
      return body(std::integral_constant<int, 2>());
    case 3:
      return body(std::integral_constant<int, 3>());
    case 4:
      return body(std::integral_constant<int, 4>());
    case 5:
      return body(std::integral_constant<int, 5>());
    case 6:
      return body(std::integral_constant<int, 6>());
    case 7:
      return body(std::integral_constant<int, 7>());
    case 8:
      return body(std::integral_constant<int, 8>());
    default:
      fail("skinny product: at most {} rows, found {}", skinny_rows, rows);
  }
}

// gemm_skinny.cpp: streams the weight once.
int64_t skinny_workspace_bytes(const Gemm&);
void run_skinny(const GemmArgs&, int threads, float* scratch);
// gemm_packed.cpp: the same with a packed weight, and the same scratch.
void run_skinny_packed(const GemmArgs&, const Bf16Unit&, int threads, float* scratch);
// gemm_dot.cpp: sums [m][16] of a group of a packed weight [k / 2][16][2] times m rows of x, for
// units with vdpbf16ps (Bf16Unit::dots).
void dot_group(const Bf16* x, int64_t x_row, int64_t m, const Bf16* weight, int64_t k, float* sums);

// gemm_unit.cpp: many rows on a unit for bf16, with a packed weight of bf16 or of 8 bits, or with
// rows of 8 bits and activations of 16, whose k is a multiple of 32.
int64_t unit_workspace_bytes(const Gemm&, const Bf16Unit&, int threads);
bool takes_glu(int64_t n, int64_t k);  // whether GemmArgs::gated may be set
void run_on_unit(const GemmArgs&, const Bf16Unit&, int threads, std::byte* scratch);
int64_t unit_workspace_bytes(const Int8Product&, const Bf16Unit&, int threads);
void run_on_unit(const Int8Product&, const Bf16Unit&, int threads, std::byte* scratch);

// gemm_tiled.cpp: for machines where oneDNN has nothing optimised.
int64_t tiled_workspace_bytes(const Gemm&, int threads);
void run_tiled(const GemmArgs&, int threads, float* scratch);

}  // namespace tidemark::cpu
