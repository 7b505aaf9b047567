#include "plan/builder.h"

namespace tidemark {

Operand lower(const SideTransformer& side, Builder& b, Operand residual,
              Operand stream_and_embedding) {
  const int64_t rows = b.rows(), hidden = b.spec().hidden;
  auto copy = [&](Operand from, Operand to) {
    b.emit(Add{.x = from, .y = {}, .out = to, .rows = rows, .width = hidden}, Role::residual);
  };
  copy(residual, stream_and_embedding);
  const Operand x =
      b.norm(side.norm, stream_and_embedding, rows, 2 * hidden, "side_normed", Role::attn_norm);

  // Its two sublayers have no residual of their own: attention's output alone goes on.
  const Operand attended = b.activation("side_attended", rows, hidden);
  lower(side.attention, b, x, {attended, false});
  const Operand y =
      b.norm(side.mlp_norm, attended, rows, hidden, "side_mlp_normed", Role::mlp_norm);
  const Operand fed = b.activation("side_fed", rows, hidden);
  lower(side.mlp, b, y, {fed, false});
  const Operand stream = b.activation("side_stream", rows, hidden);
  copy(residual, stream);
  b.gemm(fed, rows, side.linear, no_weight, stream, true, Role::o_proj);
  return stream;
}

}  // namespace tidemark
