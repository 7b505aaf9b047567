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
  Table table({"model", "family", "layers", "parameters", "bf16 weights", "KV per token", "state"});
  for (const Preset& preset : presets()) {
    const ModelSpec spec = load_spec(std::string(preset.name));
    const Footprint f = footprint(spec, DType::bf16);
    const int64_t parameters = parameter_count(spec);
    const int64_t state = f.ssm_state_bytes + f.conv_state_bytes + f.fixed_kv_bytes;
    table.row({std::string(preset.name), spec.family, std::to_string(spec.layers.size()),
               format_quantity(static_cast<double>(parameters)),
               format_size(parameters * size_bytes(DType::bf16)),
               format_size(f.kv_bytes_per_token), format_size(state)});
    rows.push_back({{"model", preset.name},
                    {"family", spec.family},
                    {"layers", spec.layers.size()},
                    {"parameters", parameters},
                    {"weight_bytes_bf16", parameters * size_bytes(DType::bf16)},
                    {"kv_bytes_per_token_bf16", f.kv_bytes_per_token},
                    {"fixed_state_bytes_bf16", state}});
  }
  fmt::print("{}", json ? rows.dump(2) + "\n" : table.text());
  return exit_ok;
}

}  // namespace

void add_models_command(CLI::App& app, int& exit_code) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("models", "List the models known by name");
  command->add_flag("--json", *json, "As JSON");
  command->callback([json, &exit_code] { exit_code = list_models(*json); });
}

}  // namespace tidemark
