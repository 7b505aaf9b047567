#include "app/cli_text.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "app/commands.h"
#include "base/file.h"

namespace tidemark {
namespace {

struct Program {
  CLI::App app{program_description, "tidemark"};
  int exit_code = 0;
  Program() { add_commands(app, exit_code); }
};

TEST(CliReference, InDocsIsUpToDate) {
  const std::string written = read_text(std::filesystem::path(TIDEMARK_SOURCE) / "docs" / "cli.md");
  EXPECT_EQ(written, cli_reference(Program().app))
      << "write it anew: build/release/tidemark cli-reference > docs/cli.md";
}

// What bash offers after `words`, the last of which is being typed.
std::string offered(const std::string& words) {
  const std::filesystem::path script =
      std::filesystem::path(testing::TempDir()) / "tidemark_completion_test.bash";
  std::ofstream(script) << bash_completion(Program().app, {"qwen2.5-0.5b", "mamba2-130m"})
                        << "COMP_WORDS=(" << words << ")\n"
                        << "COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_tidemark\n"
                        << "echo \"${COMPREPLY[@]}\"\n";
  std::FILE* pipe = popen(("bash '" + script.string() + "'").c_str(), "r");
  if (pipe == nullptr) return "no bash";
  std::string text;
  for (int c; (c = std::fgetc(pipe)) != EOF;) text += static_cast<char>(c);
  pclose(pipe);
  std::filesystem::remove(script);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

TEST(BashCompletion, OffersCommandsOptionsAndModels) {
  EXPECT_EQ(offered("tidemark expl"), "explain");
  EXPECT_EQ(offered("tidemark run-"), "");  // hidden
  EXPECT_EQ(offered("tidemark report --fig"), "--figure");
  EXPECT_EQ(offered("tidemark run qwen"), "qwen2.5-0.5b");
  EXPECT_EQ(offered("tidemark run mamba2-130m --contex"), "--context");
  EXPECT_EQ(offered("tidemark export --h"), "--help");  // once, though its group has one too
  EXPECT_EQ(offered("tidemark export --cs"), "--csv");
  EXPECT_EQ(offered("tidemark crossover qwen2.5-0.5b mamba"), "mamba2-130m");
  EXPECT_EQ(offered("tidemark compare qwen"), "");  // stores, which are files
}

}  // namespace
}  // namespace tidemark
