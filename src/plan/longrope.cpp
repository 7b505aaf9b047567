#include "plan/longrope.h"

#include <algorithm>

namespace tidemark {

int64_t tokens_before_long_factors(const ModelSpec& spec, int64_t context, int64_t new_tokens) {
  int64_t before = new_tokens;
  const auto look = [&](const AttentionBlock& attention) {
    if (!attention.rope || attention.rope->long_inv_freq.empty()) return;
    // The last new token is never fed back.
    const int64_t left = attention.rope->short_positions - spec.meta_tokens - context + 1;
    if (left > 0) before = std::min(before, left);
  };
  for (const LayerSpec& layer : spec.layers)
    for (const Sublayer& sublayer : layer.sublayers) {
      if (sublayer.side) look(sublayer.side->attention);
      for (const Block& block : sublayer.parallel)
        if (const auto* attention = std::get_if<AttentionBlock>(&block)) look(*attention);
    }
  return before;
}

}  // namespace tidemark
