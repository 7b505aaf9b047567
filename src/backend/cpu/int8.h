// Products with 8-bit weights: gemm.cpp and expert_gemm.cpp hand them over whole.
// x [m, k] bf16, weight [n, k] i8 with scales [n, groups] bf16, bias [n] bf16, out [m, n] bf16 or
// f32.
#pragma once

#include <string_view>

#include "backend/cpu/context.h"

namespace tidemark::cpu {

// out (+)= scale * (x W^T + bias), W being the weight times its scales, one per `group` columns.
// With int8_x, and then one group, x is rounded row by row (plan/ops.h).
struct Int8Product {
  const Bf16* x;
  const int8_t* weight;
  const Bf16* scales;
  const Bf16* bias;  // with has_bias
  void* out;
  int64_t m, n, k, x_stride, weight_stride, scales_stride, out_stride, group;
  float scale;
  bool has_bias, accumulate, out_f32, int8_x;
  bool packed = false;  // the weight (packed_weight.h); then int8_x
};

// int8_gemm.cpp. The first two look at shapes alone.
int64_t int8_workspace_bytes(const Int8Product&, const CpuContext&);
std::string_view int8_variant(const Int8Product&, const CpuContext&);
void run_int8(const Int8Product&, const CpuContext&, std::byte* scratch);

// Rows of x in scratch end at a multiple of this, with zeros: whole vectors of 16 bits.
inline constexpr int64_t int8_x_padding = 2 * vector_floats;

// int8_skinny.cpp, and int8_packed.cpp with a packed weight: at most skinny_rows of x; streams the
// weight once. The same scratch.
int64_t int8_skinny_workspace_bytes(const Int8Product&);
void run_int8_skinny(const Int8Product&, int threads, std::byte* scratch);
void run_int8_packed(const Int8Product&, int threads, std::byte* scratch);
// What that scratch is for 8-bit x: a scale for each row, rows of rounded x.
struct RoundedX {
  float* row_scales;
  int16_t* x;
  int64_t stride;
};
RoundedX round_few_rows(const Int8Product&, std::byte* scratch);

// int8_rows.cpp: the passes over memory around a product of many rows.
// Rows of x rounded to integers, [m, stride] with zeros behind k, and the scale of each.
void round_x(const Int8Product&, int threads, int8_t* to, int64_t stride, float* row_scales);
void round_x(const Int8Product&, int threads, int16_t* to, int64_t stride, float* row_scales);
void round_x(const Int8Product&, int threads, Bf16* to, int64_t stride, float* row_scales);
// Rows [first, first + rows) of the weight as bf16 [rows, k]: scaled, or the integers, which are
// exact.
void widen_weight(const Int8Product&, int threads, int64_t first, int64_t rows, bool scaled,
                  Bf16* to);
// Columns [first, first + cols) of out from sums of integers [rows, stride], i32 or f32; rows are
// readable up to a whole vector.
struct Int8Sums {
  const void* sums;
  bool is_i32;
  int64_t stride, first, cols;
  const float* row_scales;
  int64_t first_row = 0;  // of out
  bool streams = false;   // as GemmArgs'
};
void finish(const Int8Product&, int threads, const Int8Sums&);
void finish(const Int8Product&, const Int8Sums&, int64_t rows);  // on this thread

}  // namespace tidemark::cpu
