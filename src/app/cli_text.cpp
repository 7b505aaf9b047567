#include "app/cli_text.h"

#include <fmt/format.h>

#include "base/text.h"

namespace tidemark {
namespace {

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  std::vector<const CLI::App*> commands;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    if (!command->get_group().empty()) commands.push_back(command);  // no group: hidden
  return commands;
}

// Those of option groups, which CLI11 keeps in nameless subcommands, included, but for the help
// that each of these has again.
std::vector<const CLI::Option*> options_of(const CLI::App& command) {
  std::vector<const CLI::Option*> options = command.get_options();
  for (const CLI::App* group : command.get_subcommands([](const CLI::App*) { return true; }))
    for (const CLI::Option* option : group->get_options())
      if (option != group->get_help_ptr()) options.push_back(option);
  return options;
}

bool positional(const CLI::Option& option) {
  return option.get_positional();
}

std::string usage(const CLI::App& command) {
  std::string text = "tidemark " + command.get_name();
  for (const CLI::Option* option : options_of(command)) {
    if (!positional(*option)) continue;
    std::string name = option->get_name(true);
    for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    if (option->get_expected_max() > 1) name += "...";
    text += option->get_required() ? " " + name : " [" + name + "]";
  }
  return text + " [OPTIONS]";
}

std::string command_text(const CLI::App& command) {
  std::string text = fmt::format("## {}\n\n{}.\n\n```\n{}\n```\n\n| | default | |\n|---|---|---|\n",
                                 command.get_name(), command.get_description(), usage(command));
  for (const CLI::Option* option : options_of(command)) {
    std::string name = positional(*option) ? option->get_name(true) : option->get_name(false, true);
    if (!positional(*option) && option->get_items_expected_max() > 0) name += " VALUE";
    std::string standard = option->get_default_str();
    if (option->get_required()) standard = "required";
    text += fmt::format("| `{}` | {} | {} |\n", name, standard,
                        markdown_cell(option->get_description()));
  }
  return text + "\n";
}

std::string words(const CLI::App& command) {
  std::string text;
  for (const CLI::Option* option : options_of(command))
    for (const std::string& name : option->get_lnames())
      text += (text.empty() ? "--" : " --") + name;
  return text;
}

// Arguments that are models are called so: "model", "model_a".
bool wants_model(const CLI::App& command) {
  for (const CLI::Option* option : options_of(command))
    if (positional(*option) && option->get_name(true).starts_with("model")) return true;
  return false;
}

}  // namespace

std::string cli_reference(const CLI::App& app) {
  std::string text = fmt::format(
      "# The command line\n\n{}. Written by `tidemark cli-reference`; do not edit.\n\n"
      "Exit codes: 0, it worked; 1, the answer is no (`verify` found a tensor beyond its "
      "tolerance, `compare` a regression, `limit` nothing that fits or other than measured, "
      "`sweep` was stopped before the end); 2, the request or its input is wrong or could not be "
      "carried out. Errors are one line on standard error.\n\n"
      "`tidemark --version` prints version and commit, `tidemark COMMAND --help` what is below.\n\n"
      "Environment: there is no colour with `NO_COLOR` set to anything but nothing, with `TERM` "
      "dumb, or where output goes to no terminal; progress shows on a terminal only. "
      "`TIDEMARK_MAX_ISA` (baseline, avx2, avx512, avx512_bf16) holds the CPU's kernels to less "
      "than it has. `GOMP_SPINCOUNT` and `OMP_WAIT_POLICY` say how long waiting threads spin; "
      "with neither set Tidemark sets the first to 10000.\n\n",
      app.get_description());
  const std::vector<const CLI::App*> commands = commands_of(app);
  text += "| command | |\n|---|---|\n";
  for (const CLI::App* command : commands)
    text += fmt::format("| [{0}](#{0}) | {1} |\n", command->get_name(),
                        markdown_cell(command->get_description()));
  text += "\n";
  for (const CLI::App* command : commands) text += command_text(*command);
  text.pop_back();  // the last empty line
  return text;
}

std::string bash_completion(const CLI::App& app, const std::vector<std::string>& models) {
  const std::vector<const CLI::App*> commands = commands_of(app);
  std::string names, cases;
  for (const CLI::App* command : commands) {
    names += (names.empty() ? "" : " ") + command->get_name();
    cases += fmt::format("    {}) options=\"{}\"{} ;;\n", command->get_name(), words(*command),
                         wants_model(*command) ? " words=\"$models\"" : "");
  }
  return fmt::format(R"(# Completion of tidemark for bash: source it, or
#   tidemark completion bash > ~/.local/share/bash-completion/completions/tidemark
_tidemark() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" options="" words=""
  local models="{}"
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{} --help --version" -- "$current"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{}  esac
  case "$current" in
    -*) COMPREPLY=($(compgen -W "$options" -- "$current")) ;;
    *) COMPREPLY=($(compgen -W "$words" -- "$current") $(compgen -f -- "$current")) ;;
  esac
}}
complete -o filenames -F _tidemark tidemark
)",
                     fmt::join(models, " "), names, cases);
}

}  // namespace tidemark
