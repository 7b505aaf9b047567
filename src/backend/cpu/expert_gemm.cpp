// ExpertGemm: one product per expert, over the slots it was given. Slots lie expert by expert, so
// each product reads and writes rows that follow one another; the tokens of the first projection
// are gathered beforehand. How many slots an expert gets is known only when the router has run,
// while oneDNN's products are made ahead for fixed row counts: a run of slots is cut into 256, 128,
// 64, 32 and 16 rows, and what is left goes by 8 through the skinny product (gemm_skinny.cpp).
// Limit: multiply-adds for many slots per expert, the memory of the touched experts for few.
#include <algorithm>
#include <cstring>

#include "backend/cpu/gemm.h"
#include "backend/cpu/int8.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/onednn.h"
#include "backend/cpu/parallel.h"

namespace tidemark::cpu {
namespace {

constexpr int64_t row_counts[] = {256, 128, 64, 32, 16};

int64_t next_rows(int64_t left) {
  for (const int64_t rows : row_counts)
    if (rows <= left) return rows;
  return std::min(left, skinny_rows);
}

// The product of `rows` slots as an operator of its own.
Gemm product(const ExpertGemm& op, int64_t rows) {
  Gemm gemm{};
  gemm.x = op.x;
  if (op.token) gemm.x.stride = op.k;  // gathered
  gemm.weight = op.weight;
  gemm.out = op.out;
  gemm.m = rows;
  gemm.n = op.n;
  gemm.k = op.k;
  return gemm;
}

GemmShape shape_of(const Gemm& gemm, const CpuContext& context) {
  return {.m = gemm.m,
          .n = gemm.n,
          .k = gemm.k,
          .x_stride = gemm.x.stride,
          .weight_stride = gemm.weight.stride,
          .out_stride = gemm.out.stride,
          .dtype = context.tensor(gemm.x).dtype,
          .out_dtype = context.tensor(gemm.out).dtype,
          .bias = false,
          .accumulate = false,
          .scale = 1};
}

// The same with 8-bit weights, its tensors not found yet.
Int8Product int8_product(const ExpertGemm& op, int64_t rows) {
  Int8Product p{};
  p.m = rows, p.n = op.n, p.k = op.k;
  p.x_stride = op.token ? op.k : op.x.stride;
  p.weight_stride = op.weight.stride, p.out_stride = op.out.stride;
  p.scales_stride = op.scales.stride, p.group = op.group;
  p.scale = 1, p.int8_x = op.int8_x;
  return p;
}

int64_t gathered_bytes(const ExpertGemm& op, const CpuContext& context) {
  if (!op.token) return 0;
  const int64_t rows = std::min(op.slots, row_counts[0]);
  return round_up(rows * op.k * size_bytes(context.tensor(op.x).dtype), 64);
}

template <class T>
class Products {
 public:
  Products(const ExpertGemm& op, const CpuContext& context)
      : op_(op),
        context_(context),
        x_(context.pointer<T>(op.x, op.token ? tokens(op) : op.slots, op.k)),
        weight_(op.scales ? nullptr : context.pointer<T>(op.weight, op.experts * op.n, op.k)),
        out_(context.pointer<T>(op.out, op.slots, op.n)),
        token_(op.token ? context.pointer<int32_t>(op.token, op.slots, 1) : nullptr),
        workspace_(context.workspace<std::byte>(workspace_bytes(op, context))) {}

  // Slots [begin, begin + rows) of `expert`.
  void run(int64_t expert, int64_t begin, int64_t rows) const {
    const T* x = token_ ? gather(begin, rows) : x_ + begin * op_.x.stride;
    if constexpr (std::is_same_v<T, Bf16>)
      if (op_.scales) return run_8_bits(expert, x, begin, rows);
    const Gemm gemm = product(op_, rows);
    const GemmArgs args{.x = x,
                        .weight = weight_ + expert * op_.n * op_.weight.stride,
                        .bias = nullptr,
                        .out = out_ + begin * op_.out.stride,
                        .m = rows,
                        .n = op_.n,
                        .k = op_.k,
                        .x_stride = gemm.x.stride,
                        .weight_stride = op_.weight.stride,
                        .out_stride = op_.out.stride,
                        .scale = 1,
                        .accumulate = false,
                        .x_f32 = std::is_same_v<T, float>,
                        .out_f32 = std::is_same_v<T, float>};
    auto* scratch = reinterpret_cast<float*>(workspace_ + gathered_bytes(op_, context_));
    if (rows <= skinny_rows) return run_skinny(args, context_.threads, scratch);
    const GemmShape shape = shape_of(gemm, context_);
    if (context_.gemms->implementation(shape).empty())
      return run_tiled(args, context_.threads, scratch);
    context_.gemms->run(shape, args.x, args.weight, nullptr, args.out, scratch);
  }

 private:
  void run_8_bits(int64_t expert, const Bf16* x, int64_t begin, int64_t rows) const {
    const int64_t first = expert * op_.n;  // of the weight's rows
    Int8Product p = int8_product(op_, rows);
    p.x = x;
    p.weight = context_.pointer<int8_t>(op_.weight, op_.experts * op_.n, op_.k) +
               first * op_.weight.stride;
    p.scales =
        context_.pointer<Bf16>(op_.scales, op_.experts * op_.n, divide_up(op_.k, op_.group)) +
        first * op_.scales.stride;
    p.out = out_ + begin * op_.out.stride;
    run_int8(p, context_, workspace_ + gathered_bytes(op_, context_));
  }
  // Tokens the slots may name: as many rows as x has from its offset.
  int64_t tokens(const ExpertGemm& op) const {
    const Tensor& x = context_.tensor(op.x);
    return (x.rows * x.cols - op.x.offset - op.k) / op.x.stride + 1;
  }
  const T* gather(int64_t begin, int64_t rows) const {
    T* to = reinterpret_cast<T*>(workspace_);
    parallel_ranges(
        context_.threads, rows, 1 + 16384 / op_.k, [&](int64_t first, int64_t last, int) {
          for (int64_t i = first; i < last; ++i)
            std::memcpy(to + i * op_.k, x_ + token_[(begin + i) * op_.token.stride] * op_.x.stride,
                        static_cast<size_t>(op_.k) * sizeof(T));
        });
    return to;
  }

  const ExpertGemm& op_;
  const CpuContext& context_;
  const T* x_;
  const T* weight_;
  T* out_;
  const int32_t* token_;
  std::byte* workspace_;
};

template <class T>
void run_all(const ExpertGemm& op, const CpuContext& context) {
  const Products<T> products(op, context);
  const int32_t* first = context.pointer<int32_t>(op.first, op.experts + 1, 1);
  for (int64_t expert = 0; expert < op.experts; ++expert) {
    int64_t slot = first[expert * op.first.stride];
    const int64_t end = first[(expert + 1) * op.first.stride];
    while (slot < end) {
      const int64_t rows = next_rows(end - slot);
      products.run(expert, slot, rows);
      slot += rows;
    }
  }
}

}  // namespace

int64_t workspace_bytes(const ExpertGemm& op, const CpuContext& context) {
  if (op.scales) {
    const int64_t few = std::min(op.slots, skinny_rows);
    int64_t scratch = int8_workspace_bytes(int8_product(op, few), context);
    for (const int64_t rows : row_counts)
      if (rows <= op.slots)
        scratch = std::max(scratch, int8_workspace_bytes(int8_product(op, rows), context));
    return gathered_bytes(op, context) + scratch;
  }
  int64_t scratch = skinny_workspace_bytes(product(op, std::min(op.slots, skinny_rows)));
  for (const int64_t rows : row_counts) {
    if (rows > op.slots) continue;
    const Gemm gemm = product(op, rows);
    const GemmShape shape = shape_of(gemm, context);
    const bool tiled = context.gemms->implementation(shape).empty();
    scratch = std::max(scratch, tiled ? tiled_workspace_bytes(gemm, context.threads)
                                      : context.gemms->scratch_bytes(shape));
  }
  return gathered_bytes(op, context) + scratch;
}

std::string_view variant(const ExpertGemm& op, const CpuContext& context) {
  if (op.scales) return int8_variant(int8_product(op, next_rows(op.slots)), context);
  if (op.slots <= skinny_rows) return "skinny";
  const Gemm gemm = product(op, std::max<int64_t>(16, next_rows(op.slots)));
  const std::string& name = context.gemms->implementation(shape_of(gemm, context));
  return name.empty() ? std::string_view("tiled") : std::string_view(name);
}

void run(const ExpertGemm& op, const CpuContext& context) {
  if (context.is_f32(op.x))
    run_all<float>(op, context);
  else
    run_all<Bf16>(op, context);
}

}  // namespace tidemark::cpu
