#include "plan/builder.h"

namespace tidemark {

void lower(const Mamba1Block& block, Builder& b, Operand x, Operand residual) {
  const int64_t rows = b.rows(), inner = block.inner, n = block.state;
  const DType dtype = b.workload().dtype;

  const Operand xz = b.activation("xz", rows, 2 * inner);
  b.gemm(x, rows, block.in_proj, block.in_bias, xz, false, Role::in_proj);

  const Operand conv_out = b.activation("conv_out", rows, inner);
  const Operand conv_state =
      b.state(Tag::conv_state, "conv", b.batch() * inner, block.conv_width - 1, dtype);
  b.emit(Conv1d{.x = xz,
                .weight = b.weight(block.conv),
                .bias = b.weight(block.conv_bias),
                .state = conv_state,
                .out = conv_out,
                .batch = b.batch(),
                .length = b.length(),
                .past = 0,
                .channels = inner,
                .width = block.conv_width,
                .silu = true},
         Role::conv);

  const Operand dbc = b.activation("dt_b_c", rows, block.dt_rank + 2 * n);
  b.gemm(conv_out, rows, block.x_proj, no_weight, dbc, false, Role::x_proj);
  const Operand dt = b.activation("dt", rows, inner);
  b.gemm(dbc, rows, block.dt_proj, no_weight, dt, false, Role::dt_proj);

  const Operand out = b.activation("scan_out", rows, inner);
  b.emit(SelectiveScan{.x = conv_out,
                       .dt = dt,
                       .b = columns(dbc, block.dt_rank),
                       .c = columns(dbc, block.dt_rank + n),
                       .z = columns(xz, inner),
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
  b.gemm(out, rows, block.out_proj, block.out_bias, residual, true, Role::out_proj);
}

}  // namespace tidemark
