#include <algorithm>

#include "base/error.h"
#include "plan/builder.h"

namespace tidemark {
namespace {

KvAppend append(const AttentionBlock& block, const Builder& b, const KvCache& cache,
                int64_t capacity) {
  return {.k = cache.k,
          .v = cache.v,
          .k_cache = cache.k_cache,
          .v_cache = cache.v_cache,
          .batch = b.batch(),
          .length = b.length(),
          .past = 0,
          .kv_heads = block.kv_heads,
          .head_dim = block.head_dim,
          .value_dim = block.value_dim,
          .capacity = capacity,
          .sinks = cache.sinks};
}

// Rotates q and, when this layer makes them, k; a cache of everything is filled along with it.
void rotate(const AttentionBlock& block, Builder& b, Operand q, const KvCache& cache, bool fills,
            int64_t capacity) {
  const RopeSpec& rope = *block.rope;
  const bool is_long = !rope.long_inv_freq.empty() && b.positions() > rope.short_positions;
  const std::vector<double>& inv_freq = is_long ? rope.long_inv_freq : rope.inv_freq;
  const bool fills_all = fills && cache.window == 0;
  b.emit(Rope{.q = q,
              .k = fills ? cache.k : Operand{},
              .v = fills_all ? cache.v : Operand{},
              .k_cache = fills_all ? cache.k_cache : Operand{},
              .v_cache = fills_all ? cache.v_cache : Operand{},
              .batch = b.batch(),
              .length = b.length(),
              .past = 0,
              .heads = block.heads,
              .kv_heads = block.kv_heads,
              .head_dim = block.head_dim,
              .value_dim = block.value_dim,
              .rotary_dim = rope.rotary_dim,
              .capacity = capacity,
              .inv_freq = {inv_freq.begin(), inv_freq.end()},
              .amplitude = static_cast<float>(rope.amplitude)},
         Role::rope);
}

}  // namespace

int64_t qkv_width(const AttentionBlock& block) {
  const int64_t q = block.heads * block.head_dim;
  const int64_t gate = block.gated ? block.heads * block.value_dim : 0;
  const int64_t kv =
      block.kv_from_layer >= 0 ? 0 : block.kv_heads * (block.head_dim + block.value_dim);
  return q + gate + kv;
}

Operand attend(const AttentionBlock& block, Builder& b, Operand q, Operand k, Operand v) {
  const bool fills = block.kv_from_layer < 0;
  KvCache& cache = b.kv_cache(fills ? b.layer() : block.kv_from_layer);
  const int64_t capacity =
      cache.window > 0 ? std::min(cache.sinks + cache.window, b.positions()) : b.positions();
  if (block.q_norm)
    b.norm_in_place(*block.q_norm, q, b.rows(), block.heads, block.head_dim, Role::qk_norm);
  if (fills) {
    if (block.k_norm)
      b.norm_in_place(*block.k_norm, k, b.rows(), block.kv_heads, block.head_dim, Role::qk_norm);
    const int64_t cache_rows = b.batch() * block.kv_heads * capacity;
    const DType dtype = b.dtype();
    cache.k = k;
    cache.v = v;
    cache.k_cache = b.state(Tag::kv_cache, "k", cache_rows, block.head_dim, dtype);
    cache.v_cache = b.state(Tag::kv_cache, "v", cache_rows, block.value_dim, dtype);
  }

  // A cache of everything is filled before attention reads it. A ring must not be: the step's first
  // queries still need the keys that its last ones overwrite, so its last reader appends.
  if (block.rope)
    rotate(block, b, q, cache, fills, capacity);
  else if (fills && cache.window == 0)
    b.emit(append(block, b, cache, capacity), Role::kv_append);

  const bool windowed = block.window > 0;
  const Operand out = b.activation("attention_out", b.rows(), block.heads * block.value_dim);
  b.emit(Attention{.q = q,
                   .k = windowed ? cache.k : Operand{},
                   .v = windowed ? cache.v : Operand{},
                   .k_cache = cache.k_cache,
                   .v_cache = cache.v_cache,
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
                   .scale = static_cast<float>(block.scale),
                   .sinks = block.sinks},
         Role::attention);
  if (cache.window > 0 && cache.last_reader == b.layer())
    b.emit(append(block, b, cache, capacity), Role::kv_append);
  return out;
}

void lower(const AttentionBlock& block, Builder& b, Operand x, const Into& into) {
  const Operand qkv = b.activation("qkv", b.rows(), qkv_width(block));
  b.gemm(x, b.rows(), block.qkv, block.qkv_bias, qkv, false, Role::qkv_proj);
  if (block.adapter) b.adapt(*block.adapter, x, qkv);

  const Operand gate = columns_from(qkv, block.heads * block.head_dim);
  const int64_t out_width = block.heads * block.value_dim;
  const Operand k = block.gated ? columns_from(gate, out_width) : gate;
  const Operand v = columns_from(k, block.kv_heads * block.head_dim);
  const Operand out = attend(block, b, qkv, k, v);
  if (block.gated)
    b.emit(Glu{.act = Act::sigmoid,
               .gate = gate,
               .up = out,
               .out = out,
               .rows = b.rows(),
               .width = out_width},
           Role::attn_gate);
  b.gemm(out, b.rows(), block.o, block.o_bias, into, Role::o_proj);
}

}  // namespace tidemark
