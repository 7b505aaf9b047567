// completion, and the hidden cli-reference that docs/cli.md is made with.
#include "app/cli_text.h"
#include "app/commands.h"
#include "base/error.h"
#include "model/load.h"

namespace tidemark {

void add_completion_command(CLI::App& app, int& exit_code) {
  CLI::App* completion = app.add_subcommand("completion", "Print a completion script for a shell");
  auto shell = std::make_shared<std::string>();
  completion->add_option("shell", *shell, "bash")->required();
  completion->callback([&app, &exit_code, shell] {
    if (*shell != "bash") fail("completion: expected bash, found '{}'", printable(*shell));
    std::vector<std::string> models;
    for (const Preset& preset : presets()) models.emplace_back(preset.name);
    fmt::print("{}", bash_completion(app, models));
    exit_code = exit_ok;
  });

  CLI::App* reference = app.add_subcommand("cli-reference", "Print docs/cli.md");
  reference->group("");
  reference->callback([&app, &exit_code] {
    fmt::print("{}", cli_reference(app));
    exit_code = exit_ok;
  });
}

}  // namespace tidemark
