// Options that several commands take, parsed and checked the same way everywhere.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/vocab.h"

namespace tidemark {

// Each names the option in its error.
DType dtype_option(const std::string& text);
LogitsPolicy logits_option(const std::string& text);
int64_t tokens_option(const std::string& option, const std::string& text);
std::vector<int64_t> token_list_option(const std::string& option, const std::string& text);
// "whole" is `context`.
int64_t chunk_option(const std::string& text, int64_t context);
int64_t bytes_option(const std::string& option, const std::string& text);

// To a file, or with "-" to standard output.
void write_output(const std::string& file, const std::string& text);

}  // namespace tidemark
