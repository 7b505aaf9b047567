#include "plan/builder.h"

namespace tidemark {

void lower(const MlpBlock& block, Builder& b, Operand x, const Into& into) {
  const int64_t rows = b.rows(), width = block.width;
  const Operand up = b.activation("mlp_up", rows, block.gated ? 2 * width : width);
  b.gemm(x, rows, block.up, block.up_bias, up, false, Role::mlp_up);
  if (block.adapter) b.adapt(*block.adapter, x, up);
  // In place: the gate half becomes the product, so the MLP needs no third buffer.
  if (block.gated) {
    b.emit(Glu{.act = block.act,
               .gate = up,
               .up = columns_from(up, width),
               .out = up,
               .rows = rows,
               .width = width},
           Role::mlp_act);
  } else {
    b.emit(Activation{.act = block.act, .x = up, .out = up, .rows = rows, .width = width},
           Role::mlp_act);
  }
  if (block.row_gate != no_weight) {
    // Scaling a row before the last projection scales what it gives.
    const Operand gate = b.activation("row_gate", rows, 1);
    b.gemm(x, rows, block.row_gate, no_weight, gate, false, Role::router);
    b.emit(
        RowGate{
            .act = Act::sigmoid, .gate = gate, .x = up, .out = up, .rows = rows, .width = width},
        Role::mlp_act);
  }
  b.gemm(up, rows, block.down, block.down_bias, into, Role::mlp_down);
}

}  // namespace tidemark
