#include "plan/builder.h"

namespace tidemark {

void lower(const ShortConvBlock& block, Builder& b, Operand x, const Into& into) {
  const int64_t rows = b.rows(), width = block.width;
  // columns: B, C, x
  const Operand bcx = b.activation("bcx", rows, 3 * width);
  b.gemm(x, rows, block.in_proj, block.in_bias, bcx, false, Role::in_proj);
  const Operand c = columns_from(bcx, width), in = columns_from(bcx, 2 * width);
  auto multiply = [&](Operand gate, Operand by) {
    b.emit(
        Glu{.act = Act::identity, .gate = gate, .up = by, .out = by, .rows = rows, .width = width},
        Role::ssm_gate);
  };
  multiply(bcx, in);
  const Operand out = convolve(b, in, block.conv, block.conv_bias, width, block.conv_width, false);
  multiply(c, out);
  b.gemm(out, rows, block.out_proj, block.out_bias, into, Role::out_proj);
}

}  // namespace tidemark
