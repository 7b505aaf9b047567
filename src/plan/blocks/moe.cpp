#include "plan/builder.h"

namespace tidemark {

void lower(const MoeBlock& block, Builder& b, Operand x, const Into& into) {
  const int64_t rows = b.rows(), slots = rows * block.top_k;
  const int64_t up_width = block.gated ? 2 * block.width : block.width;

  // fp32 throughout: a rounded score may choose another expert.
  const Operand logits = b.activation("router_logits", rows, block.experts, DType::f32);
  b.gemm(x, rows, block.router, no_weight, logits, false, Role::router);
  const Operand weights = b.activation("expert_weights", rows, block.top_k, DType::f32);
  const Operand token = b.activation("slot_token", slots, 1, DType::i32);
  const Operand position = b.activation("slot_position", rows, block.top_k, DType::i32);
  const Operand first = b.activation("expert_slots", block.experts + 1, 1, DType::i32);
  const bool latent = block.to_latent != no_weight;
  const double scale = block.scale * (latent ? 1.0 : static_cast<double>(into.scale));
  b.emit(Route{.score = block.score,
               .logits = logits,
               .bias = b.weight(block.choice_bias),
               .weights = weights,
               .token = token,
               .position = position,
               .first = first,
               .rows = rows,
               .experts = block.experts,
               .top_k = block.top_k,
               .groups = block.groups,
               .top_groups = block.top_groups,
               .normalize = block.normalize,
               .scale = static_cast<float>(scale)},
         Role::router);

  Operand in = x;
  if (latent) {
    in = b.activation("latent", rows, block.expert_width);
    b.gemm(x, rows, block.to_latent, block.to_latent_bias, in, false, Role::mlp_up);
  }
  const Operand up = b.activation("experts_up", slots, up_width);
  const auto [up_weight, up_scales, up_group] = b.projection(block.up);
  b.emit(ExpertGemm{.x = in,
                    .weight = up_weight,
                    .token = token,
                    .first = first,
                    .out = up,
                    .slots = slots,
                    .experts = block.experts,
                    .n = up_width,
                    .k = block.expert_width,
                    .scales = up_scales,
                    .group = up_group,
                    .int8_x = up_scales && b.int8_x()},
         Role::mlp_up);
  if (block.gated)
    b.emit(Glu{.act = block.act,
               .gate = up,
               .up = columns_from(up, block.width),
               .out = up,
               .rows = slots,
               .width = block.width},
           Role::mlp_act);
  else
    b.emit(Activation{.act = block.act, .x = up, .out = up, .rows = slots, .width = block.width},
           Role::mlp_act);
  const Operand down = b.activation("experts_down", slots, block.expert_width);
  const auto [down_weight, down_scales, down_group] = b.projection(block.down);
  b.emit(ExpertGemm{.x = up,
                    .weight = down_weight,
                    .token = {},
                    .first = first,
                    .out = down,
                    .slots = slots,
                    .experts = block.experts,
                    .n = block.expert_width,
                    .k = block.width,
                    .scales = down_scales,
                    .group = down_group,
                    .int8_x = down_scales && b.int8_x()},
         Role::mlp_down);
  const Operand sum = latent ? b.activation("latent_sum", rows, block.expert_width) : into.out;
  b.emit(Combine{.x = down,
                 .weights = weights,
                 .position = position,
                 .out = sum,
                 .rows = rows,
                 .top_k = block.top_k,
                 .width = block.expert_width,
                 .accumulate = !latent && into.accumulate},
         Role::moe_combine);
  if (latent) b.gemm(sum, rows, block.from_latent, block.from_latent_bias, into, Role::mlp_down);
}

}  // namespace tidemark
