#include "app/options.h"

#include "base/error.h"
#include "base/file.h"
#include "base/units.h"

namespace tidemark {

DType dtype_option(const std::string& text) {
  const auto dtype = parse_dtype(text);
  if (!dtype) fail("--dtype: expected f32 or bf16, found '{}'", text);
  return *dtype;
}

LogitsPolicy logits_option(const std::string& text) {
  const auto policy = parse_logits(text);
  if (!policy) fail("--logits: expected last or all, found '{}'", text);
  return *policy;
}

int64_t tokens_option(const std::string& option, const std::string& text) {
  return with_context(option, [&] { return parse_tokens(text); });
}

std::vector<int64_t> token_list_option(const std::string& option, const std::string& text) {
  return with_context(option, [&] { return parse_token_list(text); });
}

int64_t chunk_option(const std::string& text, int64_t context) {
  return text == "whole" ? context : tokens_option("--chunk", text);
}

int64_t bytes_option(const std::string& option, const std::string& text) {
  return with_context(option, [&] { return parse_bytes(text); });
}

void write_output(const std::string& file, const std::string& text) {
  if (file == "-")
    fmt::print("{}", text);
  else
    write_text(file, text);
}

}  // namespace tidemark
