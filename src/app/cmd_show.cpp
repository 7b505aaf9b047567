#include <map>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/options.h"
#include "base/error.h"
#include "base/units.h"
#include "model/load.h"
#include "plan/footprint.h"
#include "report/table.h"

namespace tidemark {
namespace {

std::string_view kind_of(const Block& block) {
  static constexpr std::string_view names[] = {"attention",   "mlp",     "mamba1",
                                               "mamba2",      "experts", "attention+mamba1",
                                               "gated delta", "rg-lru",  "short conv"};
  static_assert(std::size(names) == std::variant_size_v<Block>);
  return names[block.index()];
}

// "attention | mamba2, mlp": sublayers in order, parallel blocks side by side.
std::string layer_text(const LayerSpec& layer) {
  std::string text;
  for (const Sublayer& sublayer : layer.sublayers) {
    if (!text.empty()) text += ", ";
    if (sublayer.side) text += "side attention + mlp -> ";
    for (size_t i = 0; i < sublayer.parallel.size(); ++i)
      text += std::string(i > 0 ? " | " : "") + std::string(kind_of(sublayer.parallel[i]));
  }
  return text;
}

int show(const std::string& model, DType dtype, bool json) {
  const ModelSpec spec = load_spec(model);
  const Footprint f = footprint(spec, dtype);
  const int64_t parameters = parameter_count(spec);

  // Runs of equal layers, as "0-23".
  std::vector<std::pair<std::string, std::string>> layers;
  for (size_t i = 0; i < spec.layers.size();) {
    const std::string text = layer_text(spec.layers[i]);
    size_t end = i + 1;
    while (end < spec.layers.size() && layer_text(spec.layers[end]) == text) ++end;
    layers.emplace_back(end - i > 1 ? fmt::format("{}-{}", i, end - 1) : fmt::format("{}", i),
                        text);
    i = end;
  }
  if (json) {
    nlohmann::json out = {{"model", spec.name},
                          {"family", spec.family},
                          {"dtype", name(dtype)},
                          {"vocab", spec.vocab},
                          {"hidden", spec.hidden},
                          {"layers", spec.layers.size()},
                          {"parameters", parameters},
                          {"tied", spec.lm_head == spec.embedding},
                          {"weight_bytes", f.weight_bytes},
                          {"kv_bytes_per_token", f.kv_bytes_per_token},
                          {"kv_bytes_per_token_beyond", f.kv_bytes_per_token_beyond},
                          {"fixed_kv_bytes", f.fixed_kv_bytes},
                          {"ssm_state_bytes", f.ssm_state_bytes},
                          {"conv_state_bytes", f.conv_state_bytes}};
    for (const auto& [range, text] : layers) out["layer_kinds"][range] = text;
    fmt::print("{}\n", out.dump(2));
    return exit_ok;
  }
  fmt::print("{} ({})\n\n", spec.name, spec.family);
  Table table;
  table.columns = {{"", Align::left}, {"", Align::left}};
  table.rows = {{"vocabulary", std::to_string(spec.vocab)},
                {"hidden width", std::to_string(spec.hidden)},
                {"layers", std::to_string(spec.layers.size())},
                {"parameters", fmt::format("{} ({})", parameters,
                                           spec.lm_head == spec.embedding
                                               ? "head tied to the embedding, counted once"
                                               : "head of its own")},
                {fmt::format("weights in {}", name(dtype)), format_bytes(f.weight_bytes)},
                {"KV cache per token", format_bytes(f.kv_bytes_per_token)},
                {"KV cache per token beyond windows", format_bytes(f.kv_bytes_per_token_beyond)},
                {"KV cache of windows, when full", format_bytes(f.fixed_kv_bytes)},
                {"SSM state per sequence", format_bytes(f.ssm_state_bytes)},
                {"conv state per sequence", format_bytes(f.conv_state_bytes)}};
  for (const auto& [range, text] : layers) table.rows.push_back({"layer " + range, text});
  fmt::print("{}", render(table, style_of(stdout)));
  return exit_ok;
}

}  // namespace

void add_show_command(CLI::App& app, int& exit_code) {
  struct Options {
    std::string model, dtype = "bf16";
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "show", "Show a model: layers, parameters, bytes per token of KV, fixed state");
  command->add_option("model", options->model, "Preset name or folder with config.json")
      ->required();
  command->add_option("--dtype", options->dtype, std::string(model_dtypes))->capture_default_str();
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &exit_code] {
    exit_code = show(options->model, dtype_option(options->dtype), options->json);
  });
}

}  // namespace tidemark
