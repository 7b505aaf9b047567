#include "plan/builder.h"

namespace tidemark {

void lower(const Mamba2Block& block, Builder& b, Operand x, const Into& into) {
  const int64_t rows = b.rows(), inner = block.heads * block.head_dim;
  const int64_t bc = block.groups * block.state, conv_channels = inner + 2 * bc;

  // columns: z [I], x [I], B [G*N], C [G*N], dt [H]
  const Operand projected = b.activation("zxbcdt", rows, inner + conv_channels + block.heads);
  b.gemm(x, rows, block.in_proj, block.in_bias, projected, false, Role::in_proj);

  Operand xbc = columns_from(projected, inner);
  if (block.conv_width > 0)
    xbc = convolve(b, xbc, block.conv, block.conv_bias, conv_channels, block.conv_width, true);
  const auto normalise = [&](const std::optional<NormSpec>& norm, Operand of) {
    if (norm) b.norm_in_place(*norm, of, rows, block.groups, block.state, Role::ssm_param_norm);
  };
  normalise(block.b_norm, columns_from(xbc, inner));
  normalise(block.c_norm, columns_from(xbc, inner + bc));

  const Operand y = b.activation("ssd_out", rows, inner);
  const bool decode = b.step().kind == StepKind::decode;
  b.emit(Ssd{.form = decode ? SsdForm::recurrence : SsdForm::chunked,
             .x = xbc,
             .dt = columns_from(projected, inner + conv_channels),
             .b = columns_from(xbc, inner),
             .c = columns_from(xbc, inner + bc),
             .a_log = b.weight(block.a_log),
             .d_skip = b.weight(block.d_skip),
             .dt_bias = b.weight(block.dt_bias),
             .state = b.state(Tag::ssm_state, "ssm", b.batch() * inner, block.state, DType::f32),
             .out = y,
             .batch = b.batch(),
             .length = b.length(),
             .past = 0,
             .heads = block.heads,
             .head_dim = block.head_dim,
             .groups = block.groups,
             .state_size = block.state,
             .chunk = block.chunk,
             .dt_min = static_cast<float>(block.dt_min),
             .dt_max = static_cast<float>(block.dt_max)},
         Role::ssm_scan);

  if (block.gated_norm) {
    b.emit(GatedNorm{.x = y,
                     .z = projected,
                     .weight = b.weight(block.gated_norm->weight),
                     .out = y,
                     .rows = rows,
                     .groups = block.norm_groups,
                     .width = inner / block.norm_groups,
                     .eps = static_cast<float>(block.gated_norm->eps),
                     .norm_before_gate = block.norm_before_gate},
           Role::ssm_gate);
  } else {
    b.emit(
        Glu{.act = Act::silu, .gate = projected, .up = y, .out = y, .rows = rows, .width = inner},
        Role::ssm_gate);
  }
  b.gemm(y, rows, block.out_proj, block.out_bias, into, Role::out_proj);
}

}  // namespace tidemark
