#include "model/safetensors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "base/bf16.h"
#include "base/error.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;

template <class Body>
std::string error_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// A file of any header and data, its length field telling the truth unless `length` is given.
std::string file_of(const std::string& header, size_t data_bytes, int64_t length = -1) {
  const uint64_t n = length < 0 ? header.size() : static_cast<uint64_t>(length);
  std::string file(reinterpret_cast<const char*>(&n), sizeof(n));
  return file + header + std::string(data_bytes, '\0');
}

TensorMap parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file)), "m.safetensors");
}

std::string header_error(const std::string& header, size_t data_bytes) {
  return error_of([&] { parse(file_of(header, data_bytes)); });
}

fs::path fresh_folder(const std::string& name) {
  const fs::path folder = fs::path(testing::TempDir()) / ("tidemark_" + name);
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

void write(const fs::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
}

TEST(Safetensors, reads_dtypes_shapes_and_data) {
  // Written by hand, so that reader and writer can't agree on a mistake.
  const std::string header = R"({"__metadata__":{"format":"pt"},)"
                             R"("w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                             R"("s":{"dtype":"I64","shape":[],"data_offsets":[8,16]},)"
                             R"("e":{"dtype":"BF16","shape":[0,7],"data_offsets":[16,16]}})";
  std::string file = file_of(header, 16);
  const float values[] = {1.5F, -2.0F};
  std::memcpy(file.data() + file.size() - 16, values, 8);
  const TensorMap tensors = parse(file);
  ASSERT_EQ(tensors.size(), 3U);
  const TensorView& w = tensors.at("w");
  EXPECT_EQ(w.dtype, DType::f32);
  EXPECT_EQ(w.shape, (std::vector<int64_t>{2, 1}));
  float read[2];
  read_elements(w, 0, 1, read);
  EXPECT_EQ(read[0], 1.5F);
  EXPECT_EQ(read[1], -2.0F);
  EXPECT_EQ(tensors.at("s").elements(), 1);
  EXPECT_EQ(tensors.at("e").elements(), 0);
}

TEST(Safetensors, refuses_a_truncated_file) {
  EXPECT_EQ(error_of([] { parse(""); }), "m.safetensors: expected at least 8 bytes, found 0");
  EXPECT_EQ(error_of([] { parse("1234567"); }),
            "m.safetensors: expected at least 8 bytes, found 7");
  const std::string header = R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_EQ(header_error(header, 7),
            "m.safetensors: key 'w.data_offsets[1]': expected an integer from 0 to 7, found 8");
  const std::string file = file_of(header, 8);
  for (size_t size = 0; size < file.size(); ++size)
    EXPECT_NE(error_of([&] { parse(file.substr(0, size)); }), "no error") << size;
  EXPECT_EQ(error_of([&] { parse(file); }), "no error");
}

TEST(Safetensors, refuses_a_huge_header_length) {
  EXPECT_EQ(error_of([] { parse(file_of("{}", 0, 3)); }),
            "m.safetensors: expected a header of at most 2 bytes, found a header length of 3");
  EXPECT_EQ(error_of([] { parse(std::string(8, '\xff')); }),
            "m.safetensors: expected a header of at most 0 bytes, found a header length of "
            "18446744073709551615");
}

TEST(Safetensors, refuses_a_header_that_is_not_an_object_of_tensors) {
  EXPECT_EQ(header_error("[]", 0), "m.safetensors: expected an object, found an array of 0");
  EXPECT_EQ(header_error("", 0).substr(0, 29), "m.safetensors: expected JSON:");
  EXPECT_EQ(header_error(R"({"w":1})", 0), "m.safetensors: key 'w': expected an object, found 1");
  EXPECT_EQ(header_error(R"({"w":{"shape":[],"data_offsets":[0,0]}})", 0),
            "m.safetensors: key 'w.dtype': missing");
  EXPECT_EQ(header_error(R"({"w":{"dtype":"F32","data_offsets":[0,0]}})", 0),
            "m.safetensors: key 'w.shape': missing");
  EXPECT_EQ(header_error(R"({"w":{"dtype":"F32","shape":3,"data_offsets":[0,0]}})", 0),
            "m.safetensors: key 'w.shape': expected an array, found 3");
  EXPECT_EQ(header_error(R"({"w":{"dtype":"F32","shape":[0],"data_offsets":[0]}})", 0),
            "m.safetensors: key 'w.data_offsets': expected [begin, end], found an array of 1");
  EXPECT_EQ(header_error(std::string(200, '{'), 0),
            "m.safetensors: expected at most 64 levels of nesting, found more at byte 64");
}

// A model's file may hold them beside its weights.
TEST(Safetensors, knows_the_size_of_types_it_does_not_compute_with) {
  const struct {
    const char* name;
    int64_t bytes;
  } types[] = {{"C64", 8}, {"U64", 8},  {"U32", 4},     {"I16", 2},     {"U16", 2},    {"I8", 1},
               {"U8", 1},  {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1}};
  for (const auto& type : types) {
    const auto header = [&](int64_t bytes) {
      return fmt::format(R"({{"w":{{"dtype":"{}","shape":[3],"data_offsets":[0,{}]}}}})", type.name,
                         bytes);
    };
    ASSERT_EQ(header_error(header(3 * type.bytes), static_cast<size_t>(3 * type.bytes)),
              "no error");
    const std::string file = file_of(header(3 * type.bytes), static_cast<size_t>(3 * type.bytes));
    const TensorMap tensors = parse(file);
    EXPECT_EQ(tensors.at("w").elements(), 3) << type.name;
    float value = 0;
    EXPECT_EQ(error_of([&] { read_elements(tensors.at("w"), 0, 1, std::span(&value, 1)); }),
              fmt::format("expected a floating-point tensor, found {}", type.name));
    EXPECT_EQ(header_error(header(3 * type.bytes + 1), static_cast<size_t>(3 * type.bytes + 1)),
              fmt::format("m.safetensors: tensor 'w': expected {} bytes for {} [3], found {} "
                          "between its offsets",
                          3 * type.bytes, type.name, 3 * type.bytes + 1));
  }
}

TEST(Safetensors, refuses_an_unknown_dtype_by_name) {
  EXPECT_EQ(
      header_error(R"({"w":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}})", 1),
      "m.safetensors: key 'w.dtype': expected a dtype among F64, F32, F16, BF16, C64, I64, "
      "U64, I32, U32, I16, U16, I8, U8, BOOL, F8_E4M3, F8_E5M2, F8_E8M0, found a string 'F4'");
}

TEST(Safetensors, refuses_a_name_that_appears_twice) {
  EXPECT_EQ(header_error(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                         R"("w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                         8),
            "m.safetensors: key 'w': found twice");
}

TEST(Safetensors, refuses_shapes_that_do_not_fit) {
  EXPECT_EQ(
      header_error(R"({"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8),
      "m.safetensors: tensor 'w': expected 12 bytes for F32 [3], found 8 between its offsets");
  EXPECT_EQ(
      header_error(R"({"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})",
                   0),
      "m.safetensors: key 'w.shape': expected a shape of less than 2^63 bytes, found an array of "
      "2");
  EXPECT_EQ(header_error(R"({"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}})", 0),
            "m.safetensors: key 'w.shape[0]': expected an integer of at least 0, found -1");
  EXPECT_EQ(header_error(R"({"w":{"dtype":"F32","shape":[1e40],"data_offsets":[0,0]}})", 0),
            "m.safetensors: key 'w.shape[0]': expected an integer of at least 0, found 1e+40");
}

TEST(Safetensors, refuses_offsets_that_overlap_leave_holes_or_are_not_aligned) {
  const auto two = [](const char* first, const char* second, size_t bytes) {
    return header_error(fmt::format(R"({{"a":{{"dtype":"F32","shape":[2],"data_offsets":{}}},)"
                                    R"("b":{{"dtype":"F32","shape":[2],"data_offsets":{}}}}})",
                                    first, second),
                        bytes);
  };
  EXPECT_EQ(two("[0,8]", "[8,16]", 16), "no error");
  EXPECT_EQ(two("[8,16]", "[0,8]", 16), "no error");
  EXPECT_EQ(two("[0,8]", "[4,12]", 12),
            "m.safetensors: tensor 'b': expected data after that of 'a', which ends at 8, found it "
            "at 4");
  EXPECT_EQ(two("[0,8]", "[0,8]", 8),
            "m.safetensors: tensor 'b': expected data after that of 'a', which ends at 8, found it "
            "at 0");
  EXPECT_EQ(
      two("[0,8]", "[12,20]", 20),
      "m.safetensors: tensor 'b': expected data at 8, found it at 12: bytes between belong to "
      "no tensor");
  EXPECT_EQ(two("[0,8]", "[8,16]", 20),
            "m.safetensors: expected 16 bytes of tensor data as the header says, found 20");
  EXPECT_EQ(two("[0,8]", "[10,18]", 18),
            "m.safetensors: tensor 'b': expected an offset divisible by 4, found 10");
  EXPECT_EQ(two("[0,8]", "[16,8]", 16),
            "m.safetensors: key 'b.data_offsets[1]': expected an integer from 16 to 16, found 8");
}

TEST(Safetensors, converts_every_half_exactly) {
  // All 65536 bit patterns against the definition of IEEE binary16.
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const TensorView tensor{DType::f16, {1}, std::as_bytes(std::span(&half, 1))};
    float value = 0;
    read_elements(tensor, 0, 1, std::span(&value, 1));
    const int exponent = (half >> 10) & 31, fraction = half & 1023;
    double expected =
        exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    if (exponent == 31) expected = fraction == 0 ? INFINITY : NAN;
    if (half & 0x8000) expected = -expected;
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(value)) << bits;
    } else {
      EXPECT_EQ(static_cast<double>(value), expected) << bits;
      EXPECT_EQ(std::signbit(value), std::signbit(expected)) << bits;
    }
  }
}

TEST(Safetensors, converts_and_scales_other_floats) {
  const Bf16 narrow[] = {Bf16(1.0F), Bf16(-3.140625F)};
  const double wide[] = {0.1, 1e300};
  float out[2];
  read_elements({DType::bf16, {2}, std::as_bytes(std::span(narrow))}, 0, 2, out);
  EXPECT_EQ(out[0], 2.0F);
  EXPECT_EQ(out[1], -6.28125F);
  read_elements({DType::f64, {2}, std::as_bytes(std::span(wide))}, 0, 1, out);
  EXPECT_EQ(out[0], 0.1F);
  EXPECT_EQ(out[1], INFINITY);
  const int64_t ids[] = {1};
  EXPECT_EQ(error_of([&] {
              read_elements({DType::i64, {1}, std::as_bytes(std::span(ids)), "I64"}, 0, 1,
                            std::span(out, 1));
            }),
            "expected a floating-point tensor, found I64");
}

std::string one_tensor(const std::string& name, float value) {
  const TensorToWrite tensor{name, DType::f32, {1}, std::as_bytes(std::span(&value, 1))};
  return encode_safetensors(std::span(&tensor, 1));
}

TEST(Checkpoint, reads_shards_by_their_index) {
  const fs::path folder = fresh_folder("shards");
  write(folder / "model-1.safetensors", one_tensor("a", 1));
  write(folder / "model-2.safetensors", one_tensor("b", 2));
  const auto index = [&](const std::string& map) {
    write(folder / "model.safetensors.index.json", "{\"weight_map\": " + map + "}");
  };
  index(R"({"a": "model-1.safetensors", "b": "model-2.safetensors"})");
  const Checkpoint checkpoint(folder);
  float value = 0;
  read_elements(checkpoint.at("b"), 0, 1, std::span(&value, 1));
  EXPECT_EQ(value, 2);
  EXPECT_EQ(checkpoint.tensors().size(), 2U);
  EXPECT_EQ(error_of([&] { (void)checkpoint.at("c"); }),
            (folder / "model.safetensors.index.json").string() + ": tensor 'c': missing");

  const std::string source = (folder / "model.safetensors.index.json").string();
  const auto load_error = [&] { return error_of([&] { Checkpoint again(folder); }); };
  index(R"({"a": "model-1.safetensors", "b": "model-1.safetensors"})");
  EXPECT_EQ(load_error(), source + ": tensor 'b': expected in " +
                              (folder / "model-1.safetensors").string() + ", where it isn't");
  index(R"({"a": "../shards/model-1.safetensors"})");
  EXPECT_EQ(load_error(),
            source + ": expected plain file names, found '../shards/model-1.safetensors'");
  index(R"({"a": "model-3.safetensors"})");
  EXPECT_EQ(load_error(), (folder / "model-3.safetensors").string() +
                              ": cannot be read: No such file or directory");
  index(R"({"a": 1})");
  EXPECT_EQ(load_error(), source + ": key 'weight_map.a': expected a string, found 1");
  write(folder / "model-2.safetensors", one_tensor("a", 2));
  index(R"({"a": "model-1.safetensors", "b": "model-2.safetensors"})");
  EXPECT_EQ(load_error(), (folder / "model-2.safetensors").string() +
                              ": tensor 'a': found in an earlier shard too");
}

TEST(Checkpoint, finds_the_weights_of_a_folder) {
  const fs::path folder = fresh_folder("find");
  EXPECT_EQ(find_checkpoint(folder / "absent"), fs::path());
  EXPECT_EQ(find_checkpoint(folder), fs::path());
  write(folder / "golden.safetensors", one_tensor("a", 1));
  EXPECT_EQ(find_checkpoint(folder), fs::path());
  EXPECT_EQ(error_of([&] { Checkpoint none(folder); }),
            folder.string() + ": expected *.safetensors, found none");
  write(folder / "x.safetensors", one_tensor("a", 1));
  EXPECT_EQ(find_checkpoint(folder), folder / "x.safetensors");
  write(folder / "y.safetensors", one_tensor("a", 1));
  EXPECT_EQ(error_of([&] { find_checkpoint(folder); }),
            folder.string() + ": expected an index for its 2 *.safetensors files, found none");
  write(folder / "model.safetensors", one_tensor("a", 1));
  EXPECT_EQ(find_checkpoint(folder), folder / "model.safetensors");
}

}  // namespace
}  // namespace tidemark
