// The command line described from the CLI11 application itself, so that nothing can disagree with
// --help: the reference docs/cli.md and a completion script.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace tidemark {

// Markdown: every command with its arguments and options, exit codes, environment.
std::string cli_reference(const CLI::App&);

// For bash: subcommands, their options, `models` and files where a model is wanted.
std::string bash_completion(const CLI::App&, const std::vector<std::string>& models);

}  // namespace tidemark
