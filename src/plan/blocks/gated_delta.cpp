#include "plan/builder.h"

namespace tidemark {

void lower(const GatedDeltaBlock& block, Builder& b, Operand x, const Into& into) {
  const int64_t rows = b.rows(), k_width = block.key_heads * block.key_dim;
  const int64_t v_width = block.value_heads * block.value_dim;
  const int64_t conv_channels = 2 * k_width + v_width;

  // columns: q, k, v, z, b [Hv], a [Hv]
  const Operand projected =
      b.activation("qkvzba", rows, conv_channels + v_width + 2 * block.value_heads);
  b.gemm(x, rows, block.in_proj, no_weight, projected, false, Role::in_proj);
  const Operand qkv =
      convolve(b, projected, block.conv, no_weight, conv_channels, block.conv_width, true);

  const Operand z = columns_from(projected, conv_channels), beta = columns_from(z, v_width);
  const Operand y = b.activation("delta_out", rows, v_width);
  const bool decode = b.step().kind == StepKind::decode;
  b.emit(GatedDelta{.form = decode ? SsdForm::recurrence : SsdForm::chunked,
                    .q = qkv,
                    .k = columns_from(qkv, k_width),
                    .v = columns_from(qkv, 2 * k_width),
                    .a = columns_from(beta, block.value_heads),
                    .b = beta,
                    .a_log = b.weight(block.a_log),
                    .dt_bias = b.weight(block.dt_bias),
                    .state = b.state(Tag::ssm_state, "delta",
                                     b.batch() * block.value_heads * block.key_dim, block.value_dim,
                                     DType::f32),
                    .out = y,
                    .batch = b.batch(),
                    .length = b.length(),
                    .past = 0,
                    .key_heads = block.key_heads,
                    .value_heads = block.value_heads,
                    .key_dim = block.key_dim,
                    .value_dim = block.value_dim,
                    .chunk = block.chunk},
         Role::ssm_scan);
  b.emit(GatedNorm{.x = y,
                   .z = z,
                   .weight = b.weight(block.norm.weight),
                   .out = y,
                   .rows = rows,
                   .groups = block.value_heads,
                   .width = block.value_dim,
                   .eps = static_cast<float>(block.norm.eps),
                   .norm_before_gate = true,
                   .shared_weight = true},
         Role::ssm_gate);
  b.gemm(y, rows, block.out_proj, no_weight, into, Role::out_proj);
}

}  // namespace tidemark
