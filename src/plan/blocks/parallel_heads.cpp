#include "plan/builder.h"

namespace tidemark {

void lower(const ParallelHeadsBlock& block, Builder& b, Operand x, const Into& into) {
  const AttentionBlock& attention = block.attention;
  const int64_t rows = b.rows(), inner = block.mamba.inner, qkv = qkv_width(attention);
  // columns: q, (k, v), x [I], z [I]
  const Operand projected = b.activation("qkvxz", rows, qkv + 2 * inner);
  b.gemm(x, rows, block.in_proj, block.in_bias, projected, false, Role::in_proj);
  const Operand k = columns_from(projected, attention.heads * attention.head_dim);
  const Operand v = columns_from(k, attention.kv_heads * attention.head_dim);
  const Operand heads = attend(attention, b, projected, k, v);
  const Operand u = columns_from(projected, qkv);
  const Operand scanned = scan(block.mamba, b, u, columns_from(u, inner));

  b.norm_in_place(block.attention_norm, heads, rows, 1, inner, Role::attn_norm);
  b.norm_in_place(block.mamba_norm, scanned, rows, 1, inner, Role::ssm_norm);
  b.emit(Add{.x = heads, .y = scanned, .out = heads, .rows = rows, .width = inner}, Role::residual);
  b.gemm(heads, rows, block.out_proj, block.out_bias, into, Role::out_proj);
}

}  // namespace tidemark
