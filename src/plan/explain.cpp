#include "plan/explain.h"

#include <fmt/format.h>

namespace tidemark {
namespace {

std::string text(const Embedding& o) {
  return fmt::format("{}x{} from {}x{}", o.batch * o.length, o.width, o.vocab, o.width);
}
std::string text(const Norm& o) {
  return fmt::format("{} {}x{}", o.kind == NormKind::rms ? "rms" : "layer", o.rows * o.groups,
                     o.width);
}
std::string text(const GatedNorm& o) {
  return fmt::format("{}x{}", o.rows * o.groups, o.width);
}
std::string text(const Gemm& o) {
  return fmt::format("{}x{} . {}x{}^T{}{}", o.m, o.k, o.n, o.k, o.bias ? " +bias" : "",
                     o.accumulate ? " +residual" : "");
}
std::string text(const Glu& o) {
  return fmt::format("{}x{}", o.rows, o.width);
}
std::string text(const Activation& o) {
  return fmt::format("{}x{}", o.rows, o.width);
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
  return fmt::format("{} queries x {} keys, heads {}/{} of {}/{}{}", o.batch * o.length,
                     o.past + o.length, o.heads, o.kv_heads, o.head_dim, o.value_dim,
                     o.window > 0 ? fmt::format(", window {}", o.window) : "");
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
