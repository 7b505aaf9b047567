// From what a user names to a ModelSpec and its weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/vocab.h"
#include "model/spec.h"

namespace tidemark {

// `model` is a folder with config.json, or else a preset name in any case (data/models/), also as
// Hugging Face has it. The spec's name is the preset's, or the folder's path as asked for
// (normal_path), which loads it again.
ModelSpec load_spec(const std::string& model);

struct Preset {
  std::string_view name;
  std::string_view config;  // the published config.json
};
std::span<const Preset> presets();  // sorted by name; compiled in from data/models/*.json

// The weights of a spec as the engine wants them. May be used from several threads.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  // Rows [row_begin, row_begin + rows) of weight `id` as f32 or bf16, row-major, into `out`, which
  // has exactly their size. Uses OpenMP inside.
  virtual void fill(WeightId id, int64_t row_begin, int64_t rows, DType dtype,
                    std::span<std::byte> out) const = 0;
  virtual std::string description() const = 0;  // for records: the file, or "synthetic, seed 1"
};

// Fails unless every part of every weight is there in its shape, and nothing is left over: a tensor
// that is silently ignored means that another model is computed.
std::unique_ptr<WeightSource> checkpoint_weights(const ModelSpec&,
                                                 const std::filesystem::path& file_or_folder);

// Seeded random weights on which activations keep a realistic scale. An element's value depends on
// the seed, its weight's name and its index alone: neither on order nor on threads.
std::unique_ptr<WeightSource> synthetic_weights(const ModelSpec&, uint64_t seed);

}  // namespace tidemark
