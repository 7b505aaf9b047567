// The safetensors format: an 8-byte little-endian header length, a JSON header naming each tensor's
// dtype, shape and byte range, then the data. https://github.com/huggingface/safetensors
// Files come from anywhere, so every field of the header is checked before it is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/vocab.h"

namespace tidemark {

struct TensorView {
  std::optional<DType> dtype;  // none: of a type that nothing is computed from
  std::vector<int64_t> shape;
  std::span<const std::byte> data;  // little-endian, row-major, perhaps not aligned
  std::string_view stored_as = {};  // the type, in the format's spelling

  int64_t elements() const;
  bool is_float() const;  // what read_elements() takes
};

std::string shape_text(std::span<const int64_t> shape);  // "[2, 3]"

using TensorMap = std::map<std::string, TensorView, std::less<>>;

// The tensors of one file's bytes; `source` names it in errors. The views point into `file`.
TensorMap parse_safetensors(std::span<const std::byte> file, const std::string& source);

// The tensors of a checkpoint, of one file or of several shards with an index. Data is read as it
// is touched.
class Checkpoint {
 public:
  // A *.safetensors file, or a folder as find_checkpoint() knows it.
  explicit Checkpoint(const std::filesystem::path& file_or_folder);

  const TensorMap& tensors() const { return tensors_; }
  const TensorView* find(std::string_view name) const;
  const TensorView& at(std::string_view name) const;
  const std::string& source() const { return source_; }  // for errors

 private:
  void add_file(const std::filesystem::path& file);

  std::string source_;
  std::vector<MappedFile> files_;
  TensorMap tensors_;
};

// Where a folder keeps its weights: model.safetensors, an index *.safetensors.index.json, or the
// only *.safetensors in it; golden.safetensors holds reference results, not weights. Empty: none.
std::filesystem::path find_checkpoint(const std::filesystem::path& folder);

// Writes one file, for tests and tools.
struct TensorToWrite {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  std::span<const std::byte> data;
  std::string_view stored_as = {};  // the file's type, when it is not dtype's
};
std::string encode_safetensors(std::span<const TensorToWrite> tensors);

// out[i] = scale * element begin + i of a floating-point tensor.
void read_elements(const TensorView& tensor, int64_t begin, float scale, std::span<float> out);

}  // namespace tidemark
