#include "model/load.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace tidemark {
namespace {

std::string golden(const std::string& name) {
  return TIDEMARK_TEST_DATA "/golden/" + name;
}

class GoldenFolder : public testing::TestWithParam<const char*> {};

TEST_P(GoldenFolder, loads) {
  const ModelSpec spec = load_spec(golden(GetParam()));
  const auto weights = checkpoint_weights(spec, golden(GetParam()));
  EXPECT_EQ(spec.name, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Golden, GoldenFolder,
                         testing::Values("llama-3.2-tiny", "tinyllama-tiny", "qwen2.5-tiny",
                                         "mamba-tiny", "mamba2-tiny", "mamba2-groups-tiny",
                                         "falcon-h1-tiny"));

}  // namespace
}  // namespace tidemark
