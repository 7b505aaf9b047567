#include "fuzz/fuzz_inputs.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "model/families/families.h"
#include "model/safetensors.h"

namespace tidemark {
namespace {

void demand(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

template <class Body>
void expect_error_or_success(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    demand(std::strchr(error.what(), '\n') == nullptr, "an error of more than one line");
    demand(std::strstr(error.what(), "input") != nullptr, "an error that doesn't name the file");
  }
}

}  // namespace

void fuzz_safetensors(std::span<const std::byte> file) {
  expect_error_or_success([&] {
    for (const auto& [name, tensor] : parse_safetensors(file, "input")) {
      // Touches the data that the header claims, so that a view outside the file is caught.
      if (!tensor.is_float()) continue;
      std::vector<float> values(static_cast<size_t>(tensor.elements()));
      read_elements(tensor, 0, 1, values);
    }
  });
}

void fuzz_config(std::string_view text) {
  expect_error_or_success([&] {
    const ModelSpec spec = make_spec(Json::parse(text, "input"));
    demand(parameter_count(spec) > 0, "a model without parameters");
    for (const Weight& weight : spec.weights) {
      int64_t rows = 0;
      for (const WeightPart& part : weight.parts) rows += part.rows;
      demand(rows == weight.rows && weight.rows > 0 && weight.cols > 0, "a weight of wrong size");
    }
  });
}

}  // namespace tidemark
