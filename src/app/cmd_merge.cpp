#include "app/commands.h"
#include "base/error.h"
#include "store/store.h"

namespace tidemark {
namespace {

int merge_all(const std::string& into, const std::vector<std::string>& from) {
  // All are opened before anything is written: a wrong name changes nothing.
  std::vector<Store> stores;
  for (const std::string& path : from) {
    if (std::filesystem::exists(into) && std::filesystem::equivalent(into, path))
      fail("{}: cannot be merged into itself", path);
    stores.emplace_back(path);
  }
  Store target(into, Store::Open::create);
  for (const Store& store : stores) {
    const MergeCount count = merge(target, store);
    fmt::print("{}: {} added, {} were there already", store.path().string(), count.added,
               count.same);
    if (count.renumbered > 0)
      fmt::print("; {} of the added measured a cell again and became a further repeat",
                 count.renumbered);
    fmt::print("\n");
  }
  return exit_ok;
}

}  // namespace

void add_merge_command(CLI::App& app, int& exit_code) {
  struct Options {
    std::string into;
    std::vector<std::string> from;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("merge", "Join stores, each record once; merging again changes nothing");
  command->add_option("into", options->into, "Store to add to; made when it does not exist")
      ->required();
  command->add_option("from", options->from, "Stores to take from")->required();
  command->callback([options, &exit_code] { exit_code = merge_all(options->into, options->from); });
}

}  // namespace tidemark
