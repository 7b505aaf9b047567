#include "model/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>

#include "base/bf16.h"
#include "base/error.h"
#include "base/json.h"

namespace tidemark {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

constexpr int64_t length_bytes = 8;
constexpr int64_t max_header_bytes = 100'000'000;  // the limit of the reference implementation

// The types of the format whose elements are whole bytes. Those without a DType may be in a file,
// but are of no use here.
struct FileType {
  std::string_view name;
  int64_t bytes;
  std::optional<DType> dtype = {};
};
constexpr FileType file_types[] = {{"F64", 8, DType::f64},
                                   {"F32", 4, DType::f32},
                                   {"F16", 2, DType::f16},
                                   {"BF16", 2, DType::bf16},
                                   {"C64", 8},
                                   {"I64", 8, DType::i64},
                                   {"U64", 8},
                                   {"I32", 4, DType::i32},
                                   {"U32", 4},
                                   {"I16", 2},
                                   {"U16", 2},
                                   {"I8", 1},
                                   {"U8", 1},
                                   {"BOOL", 1},
                                   {"F8_E4M3", 1},
                                   {"F8_E5M2", 1},
                                   {"F8_E8M0", 1}};

const FileType& read_type(const Json& value) {
  const std::string text = value.string();
  std::string known;
  for (const FileType& type : file_types) {
    if (type.name == text) return type;
    known += (known.empty() ? "" : ", ") + std::string(type.name);
  }
  value.fail_expected("a dtype among " + known);
}

// Elements times their size, or nothing when that overflows.
std::optional<int64_t> byte_count(std::span<const int64_t> shape, int64_t bytes) {
  for (const int64_t extent : shape)
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  return bytes;
}

struct ByteRange {
  int64_t begin = 0, end = 0;
  std::string_view name;
};

// Offsets must follow one another and fill the data, as the reference implementation demands: an
// overlap or a hole is a damaged or hostile file.
void check_ranges(std::vector<ByteRange> ranges, int64_t data_bytes) {
  std::sort(ranges.begin(), ranges.end(), [](const ByteRange& a, const ByteRange& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  int64_t end = 0;
  std::string_view previous;
  for (const ByteRange& range : ranges) {
    if (range.begin < end)
      fail("tensor '{}': expected data after that of '{}', which ends at {}, found it at {}",
           printable(range.name), printable(previous), end, range.begin);
    if (range.begin > end)
      fail("tensor '{}': expected data at {}, found it at {}: bytes between belong to no tensor",
           printable(range.name), end, range.begin);
    end = range.end;
    previous = range.name;
  }
  if (end != data_bytes)
    fail("expected {} bytes of tensor data as the header says, found {}", end, data_bytes);
}

float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu;
  const uint32_t fraction = half & 0x3ffu;
  if (exponent == 0) {  // zero and subnormals: fraction * 2^-24
    const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  const uint32_t wide = exponent == 0x1f ? 0xffu : exponent + (127 - 15);
  return std::bit_cast<float>(sign | (wide << 23) | (fraction << 13));
}

template <class Stored, class ToFloat>
void convert(const std::byte* from, float scale, std::span<float> out, ToFloat to_float) {
  for (size_t i = 0; i < out.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, from + i * sizeof(Stored), sizeof(Stored));
    out[i] = scale * to_float(stored);
  }
}

}  // namespace

int64_t TensorView::elements() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies());
}

bool TensorView::is_float() const {
  return dtype == DType::f32 || dtype == DType::f64 || dtype == DType::bf16 || dtype == DType::f16;
}

std::string shape_text(std::span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

TensorMap parse_safetensors(std::span<const std::byte> file, const std::string& source) {
  const auto file_bytes = static_cast<int64_t>(file.size());
  if (file_bytes < length_bytes)
    fail("{}: expected at least {} bytes, found {}", source, length_bytes, file_bytes);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), length_bytes);
  const int64_t most = std::min(file_bytes - length_bytes, max_header_bytes);
  if (header_bytes > static_cast<uint64_t>(most))
    fail("{}: expected a header of at most {} bytes, found a header length of {}", source, most,
         header_bytes);

  const auto* text = reinterpret_cast<const char*>(file.data()) + length_bytes;
  const Json header = Json::parse({text, header_bytes}, source);
  const auto data = file.subspan(static_cast<size_t>(length_bytes) + header_bytes);
  const auto data_bytes = static_cast<int64_t>(data.size());

  TensorMap tensors;
  std::vector<ByteRange> ranges;
  for (const std::string& name : header.keys()) {
    if (name == "__metadata__") continue;
    const Json entry = header[name];
    TensorView tensor;
    const FileType& type = read_type(entry["dtype"]);
    tensor.dtype = type.dtype;
    tensor.stored_as = type.name;
    const Json shape = entry["shape"];
    for (size_t i = 0; i < shape.size(); ++i) tensor.shape.push_back(shape[i].integer(0));
    const auto bytes = byte_count(tensor.shape, type.bytes);
    if (!bytes) shape.fail_expected("a shape of less than 2^63 bytes");

    const Json offsets = entry["data_offsets"];
    if (offsets.size() != 2) offsets.fail_expected("[begin, end]");
    const int64_t begin = offsets[size_t{0}].integer(0, data_bytes);
    const int64_t end = offsets[size_t{1}].integer(begin, data_bytes);
    if (end - begin != *bytes)
      fail("{}: tensor '{}': expected {} bytes for {} {}, found {} between its offsets", source,
           printable(name), *bytes, type.name, shape_text(tensor.shape), end - begin);
    if (begin % type.bytes != 0)
      fail("{}: tensor '{}': expected an offset divisible by {}, found {}", source, printable(name),
           type.bytes, begin);
    tensor.data = data.subspan(static_cast<size_t>(begin), static_cast<size_t>(*bytes));
    const auto placed = tensors.emplace(name, std::move(tensor)).first;
    ranges.push_back({begin, end, placed->first});
  }
  with_context(source, [&] { check_ranges(std::move(ranges), data_bytes); });
  return tensors;
}

std::filesystem::path find_checkpoint(const std::filesystem::path& folder) {
  namespace fs = std::filesystem;
  if (fs::exists(folder / "model.safetensors")) return folder / "model.safetensors";
  std::vector<fs::path> files, indexes;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".safetensors.index.json")) indexes.push_back(entry.path());
    if (name.ends_with(".safetensors") && name != "golden.safetensors")
      files.push_back(entry.path());
  }
  if (indexes.size() > 1)
    fail("{}: expected one *.safetensors.index.json, found {}", folder.string(), indexes.size());
  if (indexes.size() == 1) return indexes.front();
  if (files.size() > 1)
    fail("{}: expected an index for its {} *.safetensors files, found none", folder.string(),
         files.size());
  return files.empty() ? fs::path() : files.front();
}

Checkpoint::Checkpoint(const std::filesystem::path& file_or_folder) {
  namespace fs = std::filesystem;
  const bool is_folder = fs::is_directory(file_or_folder);
  const fs::path file = is_folder ? find_checkpoint(file_or_folder) : file_or_folder;
  if (file.empty()) fail("{}: expected *.safetensors, found none", file_or_folder.string());
  source_ = file.string();
  if (file.extension() != ".json") {
    add_file(file);
    return;
  }
  const Json map = Json::read(file)["weight_map"];
  std::map<std::string, std::vector<std::string>> names_of_shard;
  for (const std::string& name : map.keys()) names_of_shard[map[name].string()].push_back(name);
  for (const auto& [shard, names] : names_of_shard) {
    if (shard.empty() || shard.front() == '.' ||
        shard.find_first_of(std::string_view("/\\\0", 3)) != shard.npos)
      fail("{}: expected plain file names, found '{}'", source_, printable(shard));
    const fs::path shard_file = file.parent_path() / shard;
    add_file(shard_file);
    const std::span<const std::byte> bytes = files_.back().bytes();
    for (const std::string& name : names) {
      const TensorView* tensor = find(name);
      const bool inside = tensor != nullptr && tensor->data.data() >= bytes.data() &&
                          tensor->data.data() <= bytes.data() + bytes.size();
      if (!inside)
        fail("{}: tensor '{}': expected in {}, where it isn't", source_, printable(name),
             shard_file.string());
    }
  }
}

void Checkpoint::add_file(const std::filesystem::path& file) {
  files_.emplace_back(file);
  for (auto& [name, tensor] : parse_safetensors(files_.back().bytes(), file.string())) {
    if (!tensors_.emplace(name, std::move(tensor)).second)
      fail("{}: tensor '{}': found in an earlier shard too", file.string(), printable(name));
  }
}

const TensorView* Checkpoint::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const TensorView& Checkpoint::at(std::string_view name) const {
  const TensorView* tensor = find(name);
  if (tensor == nullptr) fail("{}: tensor '{}': missing", source_, printable(name));
  return *tensor;
}

std::string encode_safetensors(std::span<const TensorToWrite> tensors) {
  std::string header = "{";
  std::string data;
  for (const TensorToWrite& tensor : tensors) {
    std::string_view dtype = tensor.stored_as;
    for (const FileType& known : file_types)
      if (dtype.empty() && known.dtype == tensor.dtype) dtype = known.name;
    header += fmt::format(R"({}"{}":{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})",
                          header.size() > 1 ? "," : "", tensor.name, dtype,
                          shape_text(tensor.shape), data.size(), data.size() + tensor.data.size());
    data.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof(length));
  return file + header + data;
}

void read_elements(const TensorView& tensor, int64_t begin, float scale, std::span<float> out) {
  if (!tensor.is_float()) fail("expected a floating-point tensor, found {}", tensor.stored_as);
  const std::byte* from = tensor.data.data() + begin * size_bytes(*tensor.dtype);
  switch (*tensor.dtype) {
    case DType::f32:
      return convert<float>(from, scale, out, [](float x) { return x; });
    case DType::f64:
      return convert<double>(from, scale, out, [](double x) { return static_cast<float>(x); });
    case DType::bf16:
      return convert<Bf16>(from, scale, out, [](Bf16 x) { return static_cast<float>(x); });
    default:  // f16
      return convert<uint16_t>(from, scale, out, half_to_float);
  }
}

}  // namespace tidemark
