#include <fmt/format.h>

#include <cstdio>
#include <exception>

#include "app/commands.h"
#include "base/error.h"

int main(int argc, char** argv) {
  CLI::App app(tidemark::program_description, "tidemark");
  int exit_code = tidemark::exit_ok;
  tidemark::add_commands(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // --help is an error to CLI11, of status 0. Other errors are one line and 2 (docs/cli.md).
    if (error.get_exit_code() == 0) return app.exit(error);
    fmt::print(stderr, "tidemark: {} (see --help)\n", error.what());
    return tidemark::exit_error;
  } catch (const std::exception& error) {
    fmt::print(stderr, "tidemark: {}\n", error.what());
    return tidemark::exit_error;
  }
  return exit_code;
}
