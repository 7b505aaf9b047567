#include "plan/builder.h"

namespace tidemark {

Operand convolve(Builder& b, Operand x, WeightId weight, WeightId bias, int64_t channels,
                 int64_t width, bool silu) {
  const Operand out = b.activation("conv_out", b.rows(), channels);
  b.emit(
      Conv1d{.x = x,
             .weight = b.weight(weight),
             .bias = b.weight(bias),
             .state = b.state(Tag::conv_state, "conv", b.batch() * channels, width - 1, b.dtype()),
             .out = out,
             .batch = b.batch(),
             .length = b.length(),
             .past = 0,
             .channels = channels,
             .width = width,
             .silu = silu},
      Role::conv);
  return out;
}

Operand scan(const Mamba1Block& block, Builder& b, Operand x, Operand z) {
  const int64_t rows = b.rows(), inner = block.inner, n = block.state;
  const Operand conv_out =
      convolve(b, x, block.conv, block.conv_bias, inner, block.conv_width, true);

  const Operand dbc = b.activation("dt_b_c", rows, block.dt_rank + 2 * n);
  b.gemm(conv_out, rows, block.x_proj, no_weight, dbc, false, Role::x_proj);
  const Operand b_in = columns_from(dbc, block.dt_rank), c_in = columns_from(b_in, n);
  if (block.dt_norm)
    b.norm_in_place(*block.dt_norm, dbc, rows, 1, block.dt_rank, Role::ssm_param_norm);
  if (block.b_norm) b.norm_in_place(*block.b_norm, b_in, rows, 1, n, Role::ssm_param_norm);
  if (block.c_norm) b.norm_in_place(*block.c_norm, c_in, rows, 1, n, Role::ssm_param_norm);
  const Operand dt = b.activation("dt", rows, inner);
  b.gemm(dbc, rows, block.dt_proj, no_weight, dt, false, Role::dt_proj);

  const Operand out = b.activation("scan_out", rows, inner);
  b.emit(SelectiveScan{.x = conv_out,
                       .dt = dt,
                       .b = b_in,
                       .c = c_in,
                       .z = z,
                       .a_log = b.weight(block.a_log),
                       .d_skip = b.weight(block.d_skip),
                       .dt_bias = b.weight(block.dt_bias),
                       .state = b.state(Tag::ssm_state, "ssm", b.batch() * inner, n, DType::f32),
                       .out = out,
                       .batch = b.batch(),
                       .length = b.length(),
                       .past = 0,
                       .channels = inner,
                       .state_size = n},
         Role::ssm_scan);
  return out;
}

void lower(const Mamba1Block& block, Builder& b, Operand x, const Into& into) {
  const Operand xz = b.activation("xz", b.rows(), 2 * block.inner);
  b.gemm(x, b.rows(), block.in_proj, block.in_bias, xz, false, Role::in_proj);
  const Operand out = scan(block, b, xz, columns_from(xz, block.inner));
  b.gemm(out, b.rows(), block.out_proj, block.out_bias, into, Role::out_proj);
}

}  // namespace tidemark
