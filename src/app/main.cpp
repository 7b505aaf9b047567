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
    // CLI11 numbers its errors from 100; ours is 2 for every wrong request (docs/cli.md).
    return app.exit(error) == 0 ? tidemark::exit_ok : tidemark::exit_error;
  } catch (const std::exception& error) {
    fmt::print(stderr, "tidemark: {}\n", error.what());
    return tidemark::exit_error;
  }
  return exit_code;
}
