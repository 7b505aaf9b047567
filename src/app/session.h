// What commands share: a model by name, its weights, a backend by device name.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "backend/backend.h"
#include "backend/executor.h"
#include "model/load.h"

namespace tidemark {

struct Model {
  ModelSpec spec;
  std::unique_ptr<WeightSource> weights;
};

// A preset, a folder with weights, or a folder with config.json alone. Without weights, or when
// `synthetic`, they are drawn from `seed`.
Model open_model(const std::string& name, bool synthetic, uint64_t seed);

// "cpu" or "cuda:N". threads 0: all cores; memory_limit_bytes 0: what the machine has.
std::unique_ptr<Backend> open_backend(const std::string& device, int threads,
                                      int64_t memory_limit_bytes);

// Rounds what the plan holds in 8 bits from the source's values; no other copy of a weight is kept.
void fill_weights(Executor& executor, const WeightSource& weights);

// Fails where the backend has no kernels for models in `dtype`.
void require_support(const Backend& backend, DType dtype);

// "beyond the model's 2048 positions"; nothing where the context and what is generated and read
// again are within what its makers name, or they name none.
std::optional<std::string> positions_flag(const ModelSpec&, int64_t context, int64_t new_tokens);

// Seeded random token ids [batch, context] below `vocab`.
std::vector<int32_t> random_prompt(int64_t batch, int64_t context, int64_t vocab, uint64_t seed);
// The ids of a text file of whitespace-separated numbers: one line per sequence, or one line for
// all. Fails unless there are at least `context` of them, each below `vocab`.
std::vector<int32_t> read_prompt(const std::string& file, int64_t batch, int64_t context,
                                 int64_t vocab);

}  // namespace tidemark
