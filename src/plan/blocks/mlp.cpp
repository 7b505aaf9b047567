#include "plan/builder.h"

namespace tidemark {

void lower(const MlpBlock& block, Builder& b, Operand x, Operand residual) {
  const int64_t rows = b.rows(), width = block.width;
  const Operand up = b.activation("mlp_up", rows, block.gated ? 2 * width : width);
  b.gemm(x, rows, block.up, block.up_bias, up, false, Role::mlp_up);
  // In place: the gate half becomes the product, so the MLP needs no third buffer.
  if (block.gated) {
    b.emit(Glu{.act = block.act,
               .gate = up,
               .up = columns(up, width),
               .out = up,
               .rows = rows,
               .width = width},
           Role::mlp_act);
  } else {
    b.emit(Activation{.act = block.act, .x = up, .out = up, .rows = rows, .width = width},
           Role::mlp_act);
  }
  b.gemm(up, rows, block.down, block.down_bias, residual, true, Role::mlp_down);
}

}  // namespace tidemark
