// Replays the fuzz corpus in the ordinary test program.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "fuzz/fuzz_inputs.h"

namespace tidemark {
namespace {

std::vector<std::filesystem::path> inputs(const std::string& target) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry :
       std::filesystem::directory_iterator(TIDEMARK_SOURCE "/tests/fuzz/corpus/" + target))
    files.push_back(entry.path());
  return files;
}

TEST(FuzzCorpus, of_safetensors_is_parsed_or_refused) {
  ASSERT_GE(inputs("safetensors").size(), 10U);
  for (const auto& file : inputs("safetensors")) fuzz_safetensors(MappedFile(file).bytes());
}

TEST(FuzzCorpus, of_configs_is_parsed_or_refused) {
  ASSERT_GE(inputs("config").size(), 10U);
  for (const auto& file : inputs("config")) fuzz_config(read_text(file));
}

}  // namespace
}  // namespace tidemark
