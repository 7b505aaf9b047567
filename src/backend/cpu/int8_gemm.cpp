// Products with 8-bit weights. Few rows (decode): int8_skinny.cpp, or int8_packed.cpp with a packed
// weight, bound by the memory of the weight. Many rows: a panel of rows of the weight at a time, so
// that what lies between the steps stays in the cache.
// - Activations of 16 bits: the panel is scaled to bf16 and multiplied as bf16 weights are
//   (gemm_unit.cpp, which takes smaller panels; else oneDNN, or gemm_tiled.cpp where it has
//   nothing).
// - Of 8 bits: a packed weight on the unit for integers (gemm_unit.cpp, AMX); else oneDNN's i8 x i8
//   -> i32 (AMX, VNNI); where it has none, or none that sums exactly, both sides as integers in
//   bf16, which holds them exactly. Scales, bias and the residual come last, in fp32.
#include <algorithm>

#include "backend/cpu/gemm.h"
#include "backend/cpu/int8.h"
#include "backend/cpu/onednn.h"

namespace tidemark::cpu {
namespace {

constexpr int64_t panel = 1024;

// Scratch, one part behind the other; offsets in bytes.
struct Scratch {
  int64_t row_scales = 0, x = 0, weight = 0, sums = 0, product = 0, end = 0;
  int64_t take(int64_t bytes) {
    const int64_t at = end;
    end += round_up(bytes, 64);
    return at;
  }
};

int64_t sums_stride(const Int8Product& p) {
  return round_up(std::min(p.n, panel), vector_floats);
}

// The product of all of x with `rows` rows of a panel. `dtype`, of its operands, is i8 or bf16.
GemmShape shape_of(const Int8Product& p, int64_t rows, DType dtype) {
  const bool int8 = dtype == DType::i8;
  GemmShape shape{};
  shape.m = p.m, shape.n = rows, shape.k = p.k;
  shape.x_stride = p.int8_x ? p.k : p.x_stride;
  shape.weight_stride = int8 ? p.weight_stride : p.k;
  shape.dtype = dtype;
  shape.scale = 1;
  if (p.int8_x) {
    shape.out_stride = sums_stride(p);
    shape.out_dtype = int8 ? DType::i32 : DType::f32;
  } else {
    shape.out_stride = p.out_stride;
    shape.out_dtype = p.out_f32 ? DType::f32 : DType::bf16;
    shape.bias = p.has_bias;
    shape.accumulate = p.accumulate;
    shape.scale = p.scale;
  }
  return shape;
}

// What oneDNN takes for a panel, the last being smaller; -1 where it has no such product.
int64_t onednn_scratch_bytes(const Int8Product& p, DType dtype, OneDnnGemms& gemms) {
  int64_t most = 0;
  for (const int64_t rows : {std::min(p.n, panel), p.n % panel}) {
    if (rows == 0) continue;
    const GemmShape shape = shape_of(p, rows, dtype);
    if (gemms.implementation(shape).empty()) return -1;
    most = std::max(most, gemms.scratch_bytes(shape));
  }
  return most;
}

enum class Way { skinny, packed, unit, int8, bf16, tiled };

Way choose(const Int8Product& p, const CpuContext& context) {
  if (p.m <= skinny_rows) return p.packed ? Way::packed : Way::skinny;
  if (p.packed || (!p.int8_x && context.bf16 && p.k % product_depth == 0)) return Way::unit;
  if (p.int8_x && onednn_scratch_bytes(p, DType::i8, *context.gemms) >= 0) return Way::int8;
  return onednn_scratch_bytes(p, DType::bf16, *context.gemms) >= 0 ? Way::bf16 : Way::tiled;
}

Scratch scratch_of(const Int8Product& p, Way way, const CpuContext& context) {
  const bool int8 = way == Way::int8;
  Gemm tiled{};
  tiled.m = p.m;
  Scratch s;
  if (p.int8_x) {
    s.row_scales = s.take(p.m * 4);
    s.x = s.take(p.m * p.k * (int8 ? 1 : 2));
    s.sums = s.take(p.m * sums_stride(p) * 4);
  }
  if (!int8) s.weight = s.take(std::min(p.n, panel) * p.k * 2);
  s.product = s.take(way == Way::tiled
                         ? tiled_workspace_bytes(tiled, context.threads)
                         : onednn_scratch_bytes(p, int8 ? DType::i8 : DType::bf16, *context.gemms));
  return s;
}

// One panel's operands and result, as multiplied.
struct Panel {
  const void* x;
  const void* weight;
  const void* bias;
  void* out;
  int64_t rows;
};

void multiply(const Int8Product& p, Way way, const Panel& a, const CpuContext& context,
              float* scratch) {
  const GemmShape s = shape_of(p, a.rows, way == Way::int8 ? DType::i8 : DType::bf16);
  if (way != Way::tiled) return context.gemms->run(s, a.x, a.weight, a.bias, a.out, scratch);
  run_tiled({.x = a.x,
             .weight = a.weight,
             .bias = a.bias,
             .out = a.out,
             .m = s.m,
             .n = s.n,
             .k = s.k,
             .x_stride = s.x_stride,
             .weight_stride = s.weight_stride,
             .out_stride = s.out_stride,
             .scale = s.scale,
             .accumulate = s.accumulate,
             .x_f32 = false,
             .out_f32 = s.out_dtype == DType::f32},
            context.threads, scratch);
}

void run_w8a16(const Int8Product& p, Way way, const CpuContext& context, std::byte* scratch) {
  const Scratch at = scratch_of(p, way, context);
  auto* wide = reinterpret_cast<Bf16*>(scratch + at.weight);
  auto* product = reinterpret_cast<float*>(scratch + at.product);
  for (int64_t first = 0; first < p.n; first += panel) {
    const int64_t rows = std::min(panel, p.n - first);
    widen_weight(p, context.threads, first, rows, true, wide);
    void* out = p.out_f32 ? static_cast<void*>(static_cast<float*>(p.out) + first)
                          : static_cast<Bf16*>(p.out) + first;
    multiply(p, way, {p.x, wide, p.has_bias ? p.bias + first : nullptr, out, rows}, context,
             product);
  }
}

void run_w8a8(const Int8Product& p, Way way, const CpuContext& context, std::byte* scratch) {
  const Scratch at = scratch_of(p, way, context);
  auto* row_scales = reinterpret_cast<float*>(scratch + at.row_scales);
  auto* wide = reinterpret_cast<Bf16*>(scratch + at.weight);
  auto* product = reinterpret_cast<float*>(scratch + at.product);
  std::byte *x = scratch + at.x, *sums = scratch + at.sums;
  if (way == Way::int8)
    round_x(p, context.threads, reinterpret_cast<int8_t*>(x), p.k, row_scales);
  else
    round_x(p, context.threads, reinterpret_cast<Bf16*>(x), p.k, row_scales);
  for (int64_t first = 0; first < p.n; first += panel) {
    const int64_t rows = std::min(panel, p.n - first);
    const void* weight = p.weight + first * p.weight_stride;
    if (way != Way::int8) {
      widen_weight(p, context.threads, first, rows, false, wide);
      weight = wide;
    }
    multiply(p, way, {x, weight, nullptr, sums, rows}, context, product);
    finish(p, context.threads, {sums, way == Way::int8, sums_stride(p), first, rows, row_scales});
  }
}

}  // namespace

int64_t int8_workspace_bytes(const Int8Product& p, const CpuContext& context) {
  const Way way = choose(p, context);
  if (way == Way::skinny || way == Way::packed) return int8_skinny_workspace_bytes(p);
  if (way == Way::unit) return unit_workspace_bytes(p, *context.bf16, context.threads);
  return scratch_of(p, way, context).end;
}

std::string_view int8_variant(const Int8Product& p, const CpuContext& context) {
  const int64_t rows = std::min(p.n, panel);
  switch (choose(p, context)) {
    case Way::skinny:
      return p.int8_x ? "skinny w8a8" : "skinny w8a16";
    case Way::packed:
      return "skinny packed w8a8";
    case Way::unit:
      return context.bf16->name;
    case Way::int8:
      return context.gemms->implementation(shape_of(p, rows, DType::i8));
    case Way::bf16:
      return context.gemms->implementation(shape_of(p, rows, DType::bf16));
    case Way::tiled:
      return "tiled";
  }
  return {};
}

void run_int8(const Int8Product& p, const CpuContext& context, std::byte* scratch) {
  if (!p.int8_x && p.group != 32 && p.group < p.k)
    fail("8-bit weights: expected groups of 32 columns, found {}", p.group);
  const Way way = choose(p, context);
  if (way == Way::skinny) return run_int8_skinny(p, context.threads, scratch);
  if (way == Way::packed) return run_int8_packed(p, context.threads, scratch);
  if (way == Way::unit) return run_on_unit(p, *context.bf16, context.threads, scratch);
  p.int8_x ? run_w8a8(p, way, context, scratch) : run_w8a16(p, way, context, scratch);
}

}  // namespace tidemark::cpu
