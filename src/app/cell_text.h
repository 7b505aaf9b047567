// A cell in words, for a line of progress or a row of a table.
#pragma once

#include <string>

#include "record/record.h"

namespace tidemark {

// "qwen2.5-0.5b bf16 2048 tokens, chunk 512, batch 2": model, dtype, context, and what else is not
// as usual. Without `tokens` the context is left out.
std::string cell_text(const Cell&, bool tokens = true);

}  // namespace tidemark
