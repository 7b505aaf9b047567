// Reference results come from anywhere: what does not fit the model is an error that names it.
#include "app/verify.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "model/safetensors.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;

struct Kept {
  DType dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> data;
};

class VerifyTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / fmt::format("tidemark_verify_{}", getpid());
    fs::remove_all(folder_);
    fs::copy(TIDEMARK_TEST_DATA "/golden/mamba-tiny", folder_, fs::copy_options::recursive);
    const Checkpoint golden(folder_ / "golden.safetensors");
    for (const auto& [name, view] : golden.tensors())
      tensors_[name] = {*view.dtype, view.shape, {view.data.begin(), view.data.end()}};
  }
  void TearDown() override { fs::remove_all(folder_); }

  // What verify says to the recorded tensors with one of them changed.
  std::string error_with(const std::string& name, const std::function<void(Kept&)>& change) {
    std::map<std::string, Kept> changed = tensors_;
    change(changed.at(name));
    std::vector<TensorToWrite> list;
    for (const auto& [key, t] : changed) list.push_back({key, t.dtype, t.shape, t.data});
    write_text(folder_ / "golden.safetensors", encode_safetensors(list));
    try {
      verify_folder(folder_, *backend_, {});
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  // One less along a dimension; the data is cut at its end.
  static void shorten(Kept& t, size_t dimension) {
    const auto before = static_cast<size_t>(t.shape[dimension]);
    --t.shape[dimension];
    t.data.resize(t.data.size() / before * (before - 1));
  }
  static void set_first_id(Kept& t, int64_t id) {
    std::copy_n(reinterpret_cast<const std::byte*>(&id), sizeof id, t.data.begin());
  }

  fs::path folder_;
  std::map<std::string, Kept> tensors_;
  std::unique_ptr<Backend> backend_ = make_cpu_backend(1, 0);
};

TEST_F(VerifyTest, TakesWhatIsConsistent) {
  EXPECT_EQ(error_with("logits", [](Kept&) {}), "");
}

TEST_F(VerifyTest, RefusesTensorsThatDoNotFit) {
  const auto expect = [&](const std::string& tensor, const std::string& what,
                          const std::function<void(Kept&)>& change) {
    const std::string error = error_with(tensor, change);
    EXPECT_NE(error.find(fmt::format("tensor '{}': expected {}", tensor, what)), std::string::npos)
        << "found: " << error;
  };
  expect("decode_logits", "", [](Kept& t) { shorten(t, 0); });
  expect("decode_ids", "shape [", [](Kept& t) { shorten(t, 0); });
  expect("decode_ids", "shape [B, T]", [](Kept& t) { t.shape = {t.shape[0] * t.shape[1]}; });
  expect("decode_ids", "ids from 0", [](Kept& t) { set_first_id(t, 1 << 30); });
  expect("decode_ids", "ids from 0", [](Kept& t) { set_first_id(t, -1); });
  expect("input_ids", "ids from 0", [](Kept& t) { set_first_id(t, (int64_t{1} << 32) + 1); });
  expect("input_ids", "I64", [](Kept& t) {
    t.dtype = DType::f32;
    t.shape.push_back(2);
  });
  expect("logits", "", [](Kept& t) { shorten(t, 0); });
  expect("hidden_0", "", [](Kept& t) { shorten(t, 0); });
}

// One id fewer than the logits stand for.
TEST_F(VerifyTest, RefusesIdsAndLogitsOfDifferentSteps) {
  const std::string error = error_with("decode_ids", [](Kept& t) {
    const Kept whole = t;
    const auto rows = static_cast<size_t>(t.shape[0]), cols = static_cast<size_t>(t.shape[1]);
    t.data.clear();
    for (size_t r = 0; r < rows; ++r)
      t.data.insert(t.data.end(), whole.data.begin() + static_cast<int64_t>(r * cols * 8),
                    whole.data.begin() + static_cast<int64_t>((r * cols + cols - 1) * 8));
    --t.shape[1];
  });
  EXPECT_NE(error.find("tensor 'decode_logits': expected"), std::string::npos) << error;
}

}  // namespace
}  // namespace tidemark
