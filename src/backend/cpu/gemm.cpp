// Gemm: out (+)= scale * (x weight^T + bias), weights row-major as they are in a checkpoint, or
// packed once where the machine has a unit for bf16 (packed_weight.h).
// Few rows (decode): gemm_skinny.cpp and gemm_packed.cpp, bound by the memory of the weight. Many:
// the unit (gemm_unit.cpp) with a packed weight; else oneDNN where it has an optimised
// implementation (AVX-512, AVX2, Arm), and gemm_tiled.cpp where it has none (bf16 without AVX-512).
// All accumulate in fp32. Weights in 8 bits go their own way: int8_gemm.cpp.
#include "backend/cpu/gemm.h"

#include "backend/cpu/int8.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/onednn.h"
#include "backend/cpu/packed_weight.h"
#include "backend/cpu/parallel.h"
#include "plan/gated_product.h"

namespace tidemark::cpu {
namespace {

enum class Way { skinny, skinny_packed, unit, onednn, tiled };

GemmShape shape_of(const Gemm& op, const CpuContext& context) {
  return {.m = op.m,
          .n = op.n,
          .k = op.k,
          .x_stride = op.x.stride,
          .weight_stride = op.weight.stride,
          .out_stride = op.out.stride,
          .dtype = context.tensor(op.x).dtype,
          .out_dtype = context.tensor(op.out).dtype,
          .bias = static_cast<bool>(op.bias),
          .accumulate = op.accumulate,
          .scale = op.scale};
}

Way choose(const Gemm& op, const CpuContext& context) {
  const bool packed = is_packed(op, context);
  if (op.m <= skinny_rows) return packed ? Way::skinny_packed : Way::skinny;
  if (packed) return Way::unit;
  return context.gemms->implementation(shape_of(op, context)).empty() ? Way::tiled : Way::onednn;
}

template <class T, class Out>
GemmArgs resolve(const Gemm& op, const CpuContext& context) {
  Operand out = op.out;
  out.offset += op.past * op.out_per_past;
  return {.x = context.pointer<T>(op.x, op.m, op.k),
          .weight = context.pointer<T>(op.weight, op.n, op.k),
          .bias = op.bias ? context.block<T>(op.bias, op.n) : nullptr,
          .out = context.pointer<Out>(out, op.m, op.n),
          .m = op.m,
          .n = op.n,
          .k = op.k,
          .x_stride = op.x.stride,
          .weight_stride = op.weight.stride,
          .out_stride = op.out.stride,
          .scale = op.scale,
          .accumulate = op.accumulate,
          .x_f32 = std::is_same_v<T, float>,
          .out_f32 = std::is_same_v<Out, float>};
}

// A Gemm with 8-bit weights, its tensors not found yet.
Int8Product int8_product(const Gemm& op, const CpuContext& context) {
  Int8Product p{};
  p.m = op.m, p.n = op.n, p.k = op.k;
  p.x_stride = op.x.stride, p.weight_stride = op.weight.stride, p.out_stride = op.out.stride;
  p.scales_stride = op.scales.stride, p.group = op.group;
  p.scale = op.scale, p.has_bias = static_cast<bool>(op.bias), p.accumulate = op.accumulate;
  p.out_f32 = context.is_f32(op.out), p.int8_x = op.int8_x;
  p.packed = is_packed(op, context);
  return p;
}

void run_int8(const Gemm& op, const CpuContext& context) {
  Operand out = op.out;
  out.offset += op.past * op.out_per_past;
  Int8Product p = int8_product(op, context);
  p.x = context.pointer<Bf16>(op.x, op.m, op.k);
  p.weight = context.pointer<int8_t>(op.weight, op.n, op.k);
  p.scales = context.pointer<Bf16>(op.scales, op.n, divide_up(op.k, op.group));
  p.bias = op.bias ? context.block<Bf16>(op.bias, op.n) : nullptr;
  p.out = p.out_f32 ? static_cast<void*>(context.pointer<float>(out, op.m, op.n))
                    : context.pointer<Bf16>(out, op.m, op.n);
  run_int8(p, context, context.workspace<std::byte>(workspace_bytes(op, context)));
}

}  // namespace

int64_t workspace_bytes(const Gemm& op, const CpuContext& context) {
  if (op.scales) return int8_workspace_bytes(int8_product(op, context), context);
  switch (choose(op, context)) {
    case Way::skinny:
    case Way::skinny_packed:
      return skinny_workspace_bytes(op);
    case Way::unit:
      return unit_workspace_bytes(op, *context.bf16, context.threads);
    case Way::onednn:
      return context.gemms->scratch_bytes(shape_of(op, context));
    case Way::tiled:
      return tiled_workspace_bytes(op, context.threads);
  }
  return 0;
}

std::string_view variant(const Gemm& op, const CpuContext& context) {
  if (op.scales) return int8_variant(int8_product(op, context), context);
  switch (choose(op, context)) {
    case Way::skinny:
      return "skinny";
    case Way::skinny_packed:
      return "skinny packed";
    case Way::unit:
      return context.bf16->name;
    case Way::onednn:
      return context.gemms->implementation(shape_of(op, context));
    case Way::tiled:
      return "tiled";
  }
  return {};
}

bool takes_along(const Gemm& op, const Glu& glu, const CpuContext& context) {
  return gates_halves(glu, op) && glu.out == op.out && !op.scales && !op.accumulate &&
         op.out_per_past == 0 && !context.is_f32(op.out) && choose(op, context) == Way::unit &&
         takes_glu(op.n, op.k);
}

void run_gated(const Gemm& op, Act act, const CpuContext& context) {
  GemmArgs args = resolve<Bf16, Bf16>(op, context);
  args.gated = act;
  run_on_unit(args, *context.bf16, context.threads,
              context.workspace<std::byte>(workspace_bytes(op, context)));
}

void run(const Gemm& op, const CpuContext& context) {
  if (op.scales) return run_int8(op, context);
  const bool out_f32 = context.is_f32(op.out);
  const GemmArgs args = context.is_f32(op.x) ? resolve<float, float>(op, context)
                        : out_f32            ? resolve<Bf16, float>(op, context)
                                             : resolve<Bf16, Bf16>(op, context);
  auto* scratch = context.workspace<std::byte>(workspace_bytes(op, context));
  auto* floats = reinterpret_cast<float*>(scratch);
  switch (choose(op, context)) {
    case Way::skinny:
      return run_skinny(args, context.threads, floats);
    case Way::skinny_packed:
      return run_skinny_packed(args, *context.bf16, context.threads, floats);
    case Way::unit:
      return run_on_unit(args, *context.bf16, context.threads, scratch);
    case Way::tiled:
      return run_tiled(args, context.threads, floats);
    case Way::onednn:
      context.gemms->run(shape_of(op, context), args.x, args.weight, args.bias, args.out, scratch);
  }
}

}  // namespace tidemark::cpu
