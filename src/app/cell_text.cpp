#include "app/cell_text.h"

#include <fmt/format.h>

#include "base/units.h"

namespace tidemark {

std::string cell_text(const Cell& c, bool tokens) {
  std::string text = fmt::format("{} {}", c.model, name(c.dtype));
  if (tokens) text += fmt::format(" {} tokens", c.context);
  if (c.chunk != c.context) text += fmt::format(", chunk {}", c.chunk);
  if (c.batch != 1) text += fmt::format(", batch {}", c.batch);
  if (c.logits == LogitsPolicy::all) text += ", all logits";
  if (c.device != "cpu") text += ", " + c.device;
  if (c.threads != 0) text += fmt::format(", {} threads", c.threads);
  if (c.memory_limit_bytes != 0) text += ", within " + format_bytes(c.memory_limit_bytes);
  return text;
}

}  // namespace tidemark
