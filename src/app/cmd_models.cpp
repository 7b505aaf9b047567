#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "base/error.h"
#include "base/units.h"
#include "model/load.h"
#include "plan/footprint.h"
#include "report/table.h"

namespace tidemark {
namespace {

int list_models(bool json) {
  nlohmann::json rows = nlohmann::json::array();
  Table table;
  table.columns = {{"model", Align::left}, {"family", Align::left}, {"layers"},     {"parameters"},
                   {"weights bf16"},       {"KV per token"},        {"fixed state"}};
  for (const Preset& preset : presets()) {
    const ModelSpec spec = load_spec(std::string(preset.name));
    const Footprint f = footprint(spec, DType::bf16);
    const int64_t parameters = parameter_count(spec);
    table.rows.push_back({std::string(preset.name), spec.family, std::to_string(spec.layers.size()),
                          format_count(static_cast<double>(parameters)),
                          format_bytes(parameters * size_bytes(DType::bf16)),
                          format_bytes(f.kv_bytes_per_token), format_bytes(f.fixed_bytes())});
    rows.push_back({{"model", preset.name},
                    {"family", spec.family},
                    {"layers", spec.layers.size()},
                    {"parameters", parameters},
                    {"weight_bytes", parameters * size_bytes(DType::bf16)},
                    {"kv_bytes_per_token", f.kv_bytes_per_token},
                    {"fixed_state_bytes", f.fixed_bytes()}});
  }
  fmt::print("{}", json ? rows.dump(2) + "\n" : render(table, style_of(stdout)));
  return exit_ok;
}

}  // namespace

void add_models_command(CLI::App& app, int& exit_code) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command =
      app.add_subcommand("models", "List the models known by name, with sizes in bf16");
  command->add_flag("--json", *json, "Print JSON");
  command->callback([json, &exit_code] { exit_code = list_models(*json); });
}

}  // namespace tidemark
