#include "plan/builder.h"

namespace tidemark {

void lower(const RgLruBlock& block, Builder& b, Operand x, const Into& into) {
  const int64_t rows = b.rows(), width = block.width, head = width / block.heads;
  // columns: y (the gate), x
  const Operand yx = b.activation("yx", rows, 2 * width);
  b.gemm(x, rows, block.in_proj, block.in_bias, yx, false, Role::in_proj);
  const Operand conv_out = convolve(b, columns_from(yx, width), block.conv, block.conv_bias, width,
                                    block.conv_width, false);

  auto gate = [&](const char* name, WeightId weight, WeightId bias) {
    const Operand out = b.activation(name, rows, width);
    b.emit(BlockGemm{.x = conv_out,
                     .weight = b.weight(weight),
                     .bias = b.weight(bias),
                     .out = out,
                     .m = rows,
                     .blocks = block.heads,
                     .n = head,
                     .k = head},
           Role::gate_proj);
    return out;
  };
  const Operand input_gate = gate("input_gate", block.input_gate, block.input_gate_bias);
  const Operand recurrent_gate =
      gate("recurrent_gate", block.recurrent_gate, block.recurrent_gate_bias);
  const Operand out = b.activation("lru_out", rows, width);
  b.emit(RgLru{.x = conv_out,
               .input_gate = input_gate,
               .recurrent_gate = recurrent_gate,
               .param = b.weight(block.param),
               .state = b.state(Tag::ssm_state, "lru", b.batch() * width, 1, DType::f32),
               .out = out,
               .batch = b.batch(),
               .length = b.length(),
               .past = 0,
               .width = width},
         Role::ssm_scan);
  b.emit(Glu{.act = block.act, .gate = yx, .up = out, .out = out, .rows = rows, .width = width},
         Role::ssm_gate);
  b.gemm(out, rows, block.out_proj, block.out_bias, into, Role::out_proj);
}

}  // namespace tidemark
