#include "model/load.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "model/families/builder.h"
#include "model/families/families.h"
#include "model/safetensors.h"

namespace tidemark {
namespace {

// Other names of presets, and who publishes models under these names. A path to a folder that is
// not there must not be taken for a preset, so no other owner will do.
struct OtherName {
  std::string_view name, preset;
};
constexpr OtherName other_names[] = {
    {"phi-3-mini", "phi-3-mini-4k"},
    {"phi-3-mini-4k-instruct", "phi-3-mini-4k"},
    {"falcon-h1-0.5b-base", "falcon-h1-0.5b"},
    {"falcon-h1-1.5b-base", "falcon-h1-1.5b"},
    {"hymba-1.5b-base", "hymba-1.5b"},
    {"nemotron-h-8b-base-8k", "nemotron-h-8b"},
    {"ai21-jamba-reasoning-3b", "jamba-reasoning-3b"},
    {"qwen3-next-80b-a3b-instruct", "qwen3-next-80b-a3b"},
    {"tinyllama_v1.1", "tinyllama-1.1b"},
};
constexpr std::string_view owners[] = {
    "ai21labs",     "EleutherAI", "google",    "ibm-ai-platform", "ibm-granite",
    "LiquidAI",     "meta-llama", "microsoft", "nvidia",          "Qwen",
    "state-spaces", "tiiuae",     "TinyLlama", "Zyphra"};

// By its name, or by the one that Hugging Face has: owner/name. nullptr: there is none.
const Preset* find_preset(std::string_view name) {
  if (const size_t slash = name.find('/'); slash != std::string_view::npos) {
    const std::string_view owner = name.substr(0, slash);
    if (std::ranges::none_of(owners, [&](auto o) { return equal_without_case(o, owner); }))
      return nullptr;
    name = name.substr(slash + 1);
  }
  for (const OtherName& other : other_names)
    if (equal_without_case(other.name, name)) name = other.preset;
  for (const Preset& preset : presets())
    if (equal_without_case(preset.name, name)) return &preset;
  return nullptr;
}

// Folders are told apart by all of their path, as it was asked for.
std::string folder_name(const std::string& folder) {
  const std::string name = normal_path(folder);
  return find_preset(name) ? "./" + name : name;
}

// Whether the weights hold a head that differs from the embedding, whatever the config says of
// tying: transformers (5.x) then computes with both. Weights that cannot be read are for whoever
// loads them to complain of.
bool holds_own_head(const ModelSpec& spec, const std::filesystem::path& folder) {
  try {
    if (find_checkpoint(folder).empty()) return false;
    const Checkpoint checkpoint(folder);
    const TensorView* head = checkpoint.find("lm_head.weight");
    if (head == nullptr) return false;
    for (const std::string& name :
         spec.weights.at(static_cast<size_t>(spec.embedding)).parts[0].names)
      if (const TensorView* table = checkpoint.find(name))
        return table->shape == head->shape && !std::ranges::equal(table->data, head->data);
  } catch (const Error&) {
  }
  return false;
}

ModelSpec read_spec(const Json& config) {
  ModelSpec spec = make_spec(config);
  constexpr const char* key = "max_position_embeddings";
  if (config.has(key)) spec.declared_positions = config[key].integer(0);
  return spec;
}

}  // namespace

ModelSpec load_spec(const std::string& model) {
  // Here, not when a record of hours is written, or a terminal has taken the name for a command.
  if (!is_utf8(model) || std::ranges::any_of(model, [](unsigned char c) { return c < ' '; }))
    fail("model '{}': expected a name in UTF-8 without control characters", printable(model));
  const std::filesystem::path config = std::filesystem::path(model) / "config.json";
  std::error_code error;
  if (std::filesystem::exists(config, error)) {
    ModelSpec spec = read_spec(Json::read(config));
    spec.name = folder_name(model);
    if (spec.lm_head == spec.embedding && holds_own_head(spec, model)) untie(spec);
    return spec;
  }
  if (const Preset* preset = find_preset(model)) {
    ModelSpec spec = read_spec(Json::parse(preset->config, fmt::format("preset {}", preset->name)));
    spec.name = preset->name;
    return spec;
  }
  if (std::filesystem::is_directory(model, error))
    fail("{}: expected a config.json in the folder, found none", model);
  std::vector<std::string_view> names;
  for (const Preset& preset : presets()) names.push_back(preset.name);
  fail("model '{}': expected a folder with config.json or one of the presets {}", printable(model),
       fmt::join(names, ", "));
}

}  // namespace tidemark
