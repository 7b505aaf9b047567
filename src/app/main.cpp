#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <system_error>

#include "app/commands.h"
#include "base/error.h"
#include "base/say.h"

namespace {

// A stream that was closed would lend its number to the next file opened, and lines meant for
// people would land in that. Opened so that writing to it still fails.
void occupy_standard_streams() {
  int opened = 0;
  while (opened >= 0 && opened <= STDERR_FILENO) opened = open("/dev/null", O_RDONLY);
  if (opened > STDERR_FILENO) close(opened);
}

// Threads of OpenMP that wait for one another spin for milliseconds, by default, before they let
// others have the processor: beside another program every operator then takes that long. A tenth of
// that keeps what spinning is for, a quick start of the next operator. The runtime looks at its
// environment before main() begins.
void spin_briefly(char** argv) {
  if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY")) return;
  setenv("GOMP_SPINCOUNT", "10000", 1);
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) execv(program.c_str(), argv);  // comes back only if it can't
}

// 0, or the error that kept some of it from being written: a full disk shows at the last flush, or
// before it as what fmt::print throws.
int standard_output_error(int known) {
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  if (known == 0) known = errno;
  return known == 0 ? EIO : known;
}

int run(int argc, char** argv, int& output_error) {
  CLI::App app(tidemark::program_description, "tidemark");
  int exit_code = tidemark::exit_ok;
  tidemark::add_commands(app, exit_code);
  try {
    app.parse(argc, argv);
    // CLI11 would say this before it says which word it does not know.
    if (app.get_subcommands().empty())
      tidemark::fail("expected a command, found none (see --help)");
  } catch (const CLI::ParseError& error) {
    // --help is an error to CLI11, of status 0. Other errors are one line and 2 (docs/cli.md).
    if (error.get_exit_code() == 0) return app.exit(error);
    tidemark::say("tidemark: {} (see --help)", error.what());
    return tidemark::exit_error;
  } catch (const std::system_error& error) {
    if (std::ferror(stdout) != 0) {
      output_error = error.code().value();
    } else {
      tidemark::say("tidemark: {}", error.what());
    }
    return tidemark::exit_error;
  } catch (const std::exception& error) {
    tidemark::say("tidemark: {}", error.what());
    return tidemark::exit_error;
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  spin_briefly(argv);
  occupy_standard_streams();
  int output_error = 0;
  const int exit_code = run(argc, argv, output_error);
  output_error = standard_output_error(output_error);
  if (output_error == 0) return exit_code;
  tidemark::say("tidemark: standard output: cannot be written: {}", std::strerror(output_error));
  return tidemark::exit_error;
}
