#include "plan/explain.h"

#include <fmt/format.h>

namespace tidemark {
namespace {

std::string_view in_8_bits(const auto& o) {
  return o.int8_x ? ", w8a8" : o.scales ? ", w8a16" : "";
}

std::string text(const Embedding& o) {
  return fmt::format("{}x{} from {}x{}", o.batch * o.length, o.width, o.vocab, o.width);
}
std::string text(const Add& o) {
  return fmt::format("{}x{}{}", o.rows, o.width, o.y ? "" : ", a copy");
}
std::string text(const Norm& o) {
  return fmt::format("{} {}x{}", o.kind == NormKind::rms ? "rms" : "layer", o.rows * o.groups,
                     o.width);
}
std::string text(const GatedNorm& o) {
  return fmt::format("{}x{}", o.rows * o.groups, o.width);
}
std::string text(const Gemm& o) {
  return fmt::format("{}x{} . {}x{}^T{}{}{}", o.m, o.k, o.n, o.k, o.bias ? " +bias" : "",
                     o.accumulate ? " +residual" : "", in_8_bits(o));
}
std::string text(const BlockGemm& o) {
  return fmt::format("{}x{} . {} blocks {}x{}{}", o.m, o.blocks * o.k, o.blocks, o.k, o.n,
                     o.bias ? " +bias" : "");
}
std::string text(const Glu& o) {
  return fmt::format("{}x{}", o.rows, o.width);
}
std::string text(const Activation& o) {
  return fmt::format("{}x{}", o.rows, o.width);
}
std::string text(const RowGate& o) {
  return fmt::format("{}x{}", o.rows, o.width);
}
std::string text(const SoftCap& o) {
  return fmt::format("{}x{}, cap {}", o.rows, o.width, o.cap);
}
std::string text(const Route& o) {
  return fmt::format("{} tokens, {} of {} experts", o.rows, o.top_k, o.experts);
}
std::string text(const ExpertGemm& o) {
  return fmt::format("{}x{} . {} experts {}x{}^T{}", o.slots, o.k, o.experts, o.n, o.k,
                     in_8_bits(o));
}
std::string text(const Combine& o) {
  return fmt::format("{}x{} of {} each{}", o.rows, o.width, o.top_k,
                     o.accumulate ? " +residual" : "");
}
std::string text(const Rope& o) {
  return fmt::format("{} rows, heads {}+{} of {}, rotary {}{}", o.batch * o.length, o.heads,
                     o.k ? o.kv_heads : 0, o.head_dim, o.rotary_dim, o.k_cache ? ", to cache" : "");
}
std::string text(const KvAppend& o) {
  return fmt::format("{} rows, {} heads of {}/{}", o.batch * o.length, o.kv_heads, o.head_dim,
                     o.value_dim);
}
std::string text(const Attention& o) {
  return fmt::format("{} queries x {} keys, heads {}/{} of {}/{}{}{}", o.batch * o.length,
                     o.past + o.length, o.heads, o.kv_heads, o.head_dim, o.value_dim,
                     o.window > 0 ? fmt::format(", window {}", o.window) : "",
                     o.sinks > 0 ? fmt::format(" + {}", o.sinks) : "");
}
std::string text(const Conv1d& o) {
  return fmt::format("{}x{}, width {}", o.batch * o.length, o.channels, o.width);
}
std::string text(const SelectiveScan& o) {
  return fmt::format("{}x{}, state {}", o.batch * o.length, o.channels, o.state_size);
}
std::string text(const Ssd& o) {
  return fmt::format("{}: {} rows, heads {}x{}, groups {}, state {}{}",
                     o.form == SsdForm::chunked ? "chunked" : "recurrence", o.batch * o.length,
                     o.heads, o.head_dim, o.groups, o.state_size,
                     o.form == SsdForm::chunked ? fmt::format(", chunk {}", o.chunk) : "");
}
std::string text(const GatedDelta& o) {
  return fmt::format("{}: {} rows, heads {}/{} of {}/{}{}",
                     o.form == SsdForm::chunked ? "chunked" : "recurrence", o.batch * o.length,
                     o.value_heads, o.key_heads, o.key_dim, o.value_dim,
                     o.form == SsdForm::chunked ? fmt::format(", chunk {}", o.chunk) : "");
}
std::string text(const RgLru& o) {
  return fmt::format("{}x{}", o.batch * o.length, o.width);
}
std::string text(const SelectLast& o) {
  return fmt::format("{}x{}", o.batch, o.width);
}
std::string text(const Argmax& o) {
  return fmt::format("{}x{}", o.batch, o.vocab);
}

}  // namespace

std::string shape_text(const Op& op) {
  return std::visit([](const auto& concrete) { return text(concrete); }, op);
}

}  // namespace tidemark
