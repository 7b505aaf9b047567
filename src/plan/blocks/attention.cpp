#include <algorithm>

#include "plan/builder.h"

namespace tidemark {

void lower(const AttentionBlock& block, Builder& b, Operand x, Operand residual) {
  const int64_t q_width = block.heads * block.head_dim;
  const int64_t k_width = block.kv_heads * block.head_dim;
  const int64_t v_width = block.kv_heads * block.value_dim;
  const int64_t capacity = block.window > 0 ? std::min(block.window, b.positions()) : b.positions();
  const DType dtype = b.workload().dtype;

  const Operand qkv = b.activation("qkv", b.rows(), q_width + k_width + v_width);
  b.gemm(x, b.rows(), block.qkv, block.qkv_bias, qkv, false, Role::qkv_proj);
  const Operand q = qkv, k = columns(qkv, q_width), v = columns(qkv, q_width + k_width);

  const int64_t cache_rows = b.batch() * block.kv_heads * capacity;
  const Operand k_cache = b.state(Tag::kv_cache, "k", cache_rows, block.head_dim, dtype);
  const Operand v_cache = b.state(Tag::kv_cache, "v", cache_rows, block.value_dim, dtype);

  // A full cache is filled before attention reads it. A ring must not be: the step's first queries
  // still need the keys that its last ones overwrite, so a windowed step appends afterwards.
  const bool windowed = block.window > 0;
  const KvAppend append{.k = k,
                        .v = v,
                        .k_cache = k_cache,
                        .v_cache = v_cache,
                        .batch = b.batch(),
                        .length = b.length(),
                        .past = 0,
                        .kv_heads = block.kv_heads,
                        .head_dim = block.head_dim,
                        .value_dim = block.value_dim,
                        .capacity = capacity};
  if (block.rope) {
    const RopeSpec& rope = *block.rope;
    b.emit(Rope{.q = q,
                .k = k,
                .v = windowed ? Operand{} : v,
                .k_cache = windowed ? Operand{} : k_cache,
                .v_cache = windowed ? Operand{} : v_cache,
                .batch = b.batch(),
                .length = b.length(),
                .past = 0,
                .heads = block.heads,
                .kv_heads = block.kv_heads,
                .head_dim = block.head_dim,
                .value_dim = block.value_dim,
                .rotary_dim = rope.rotary_dim,
                .capacity = capacity,
                .inv_freq = {rope.inv_freq.begin(), rope.inv_freq.end()},
                .amplitude = static_cast<float>(rope.amplitude)},
           Role::rope);
  } else if (!windowed) {
    b.emit(append, Role::kv_append);
  }

  const Operand out = b.activation("attention_out", b.rows(), block.heads * block.value_dim);
  b.emit(Attention{.q = q,
                   .k = windowed ? k : Operand{},
                   .v = windowed ? v : Operand{},
                   .k_cache = k_cache,
                   .v_cache = v_cache,
                   .out = out,
                   .batch = b.batch(),
                   .length = b.length(),
                   .past = 0,
                   .heads = block.heads,
                   .kv_heads = block.kv_heads,
                   .head_dim = block.head_dim,
                   .value_dim = block.value_dim,
                   .capacity = capacity,
                   .window = block.window,
                   .scale = static_cast<float>(block.scale)},
         Role::attention);
  if (windowed) b.emit(append, Role::kv_append);
  b.gemm(out, b.rows(), block.o, block.o_bias, residual, true, Role::o_proj);
}

}  // namespace tidemark
