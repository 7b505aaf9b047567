// What the fuzz targets do with an input, so that the unit tests can replay the corpus.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace tidemark {

// Both take any bytes: they parse them or refuse them with an Error of one line, and fail hard
// (abort) on anything else.
void fuzz_safetensors(std::span<const std::byte> file);
void fuzz_config(std::string_view text);

}  // namespace tidemark
