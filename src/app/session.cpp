#include "app/session.h"

#include <algorithm>
#include <filesystem>
#include <random>
#include <sstream>

#include "backend/cuda_devices.h"
#include "base/device_name.h"
#include "base/error.h"
#include "base/file.h"
#include "model/int8.h"
#include "model/safetensors.h"

namespace tidemark {

Model open_model(const std::string& name, bool synthetic, uint64_t seed) {
  Model model;
  model.spec = load_spec(name);
  const std::filesystem::path folder = name;
  const bool has_weights =
      std::filesystem::is_directory(folder) && !find_checkpoint(folder).empty();
  model.weights = has_weights && !synthetic ? checkpoint_weights(model.spec, folder)
                                            : synthetic_weights(model.spec, seed);
  return model;
}

std::unique_ptr<Backend> open_backend(const std::string& device, int threads,
                                      int64_t memory_limit_bytes) {
  if (threads < 0 || threads > most_threads)
    fail("--threads: expected 0 (all cores) to {}, found {}", most_threads, threads);
  const auto index = parse_device(device);
  if (!index) fail("device: expected cpu or cuda:N, found '{}'", printable(device));
  return *index < 0 ? make_cpu_backend(threads, memory_limit_bytes)
                    : make_cuda_backend(*index, memory_limit_bytes);
}

void fill_weights(Executor& executor, const WeightSource& weights) {
  std::vector<Bf16> scales;  // of the i8 weight just filled: its scales are the next tensor
  executor.fill_weights([&](const Tensor& tensor, std::span<std::byte> out) {
    if (tensor.is_scales) {
      std::ranges::copy(std::as_bytes(std::span(scales)), out.begin());
    } else if (tensor.dtype == DType::i8) {
      scales = fill_int8(weights, tensor.weight, tensor.rows, tensor.cols, tensor.group, out);
    } else {
      weights.fill(tensor.weight, 0, tensor.rows, tensor.dtype, out);
    }
  });
}

void require_support(const Backend& backend, DType dtype) {
  if (!backend.supports(dtype))
    fail("--dtype: unsupported: {} has no {} kernels", backend.info().device, name(dtype));
}

std::optional<std::string> positions_flag(const ModelSpec& spec, int64_t context,
                                          int64_t new_tokens) {
  const int64_t most = spec.declared_positions;
  if (most == 0 || context + new_tokens - 1 <= most) return std::nullopt;
  return fmt::format("beyond the model's {} positions", most);
}

std::vector<int32_t> random_prompt(int64_t batch, int64_t context, int64_t vocab, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<int32_t> draw(0, static_cast<int32_t>(vocab - 1));
  std::vector<int32_t> ids(static_cast<size_t>(batch * context));
  for (int32_t& id : ids) id = draw(random);
  return ids;
}

std::vector<int32_t> read_prompt(const std::string& file, int64_t batch, int64_t context,
                                 int64_t vocab) {
  std::vector<std::vector<int32_t>> lines;
  std::istringstream text(read_text(file));
  std::string line;
  for (int64_t number = 1; std::getline(text, line); ++number) {
    std::istringstream words(line);
    std::vector<int32_t> ids;
    std::string word;
    while (words >> word) {
      size_t used = 0;
      int64_t id = -1;
      try {
        id = std::stoll(word, &used);
      } catch (const std::exception&) {
        used = 0;
      }
      if (used != word.size() || id < 0 || id >= vocab)
        fail("{}:{}: expected token ids below {}, found '{}'", file, number, vocab, word);
      ids.push_back(static_cast<int32_t>(id));
    }
    if (!ids.empty()) lines.push_back(std::move(ids));
  }
  if (lines.size() != 1 && static_cast<int64_t>(lines.size()) < batch)
    fail("{}: expected 1 or {} lines of token ids, found {}", file, batch, lines.size());
  std::vector<int32_t> prompt;
  for (int64_t b = 0; b < batch; ++b) {
    const size_t from = lines.size() == 1 ? 0 : static_cast<size_t>(b);
    if (static_cast<int64_t>(lines[from].size()) < context)
      fail("{}: line {}: expected at least {} token ids, found {}", file, from + 1, context,
           lines[from].size());
    prompt.insert(prompt.end(), lines[from].begin(), lines[from].begin() + context);
  }
  return prompt;
}

}  // namespace tidemark
