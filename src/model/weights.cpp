// WeightSource from a checkpoint and from a seed.
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <set>

#include "base/bf16.h"
#include "base/error.h"
#include "model/load.h"
#include "model/safetensors.h"

namespace tidemark {
namespace {

bool is_number(float value) {
  return std::isfinite(value);
}

// Calls produce(first, values) on runs of [begin, begin + count) in parallel, and stores the values
// as `dtype` in `out`.
template <class Produce>
void store_elements(int64_t begin, int64_t count, DType dtype, std::span<std::byte> out,
                    const Produce& produce) {
  constexpr int64_t run = 4096;
#pragma omp parallel for schedule(static) if (count > 16 * run)
  for (int64_t at = 0; at < count; at += run) {
    float values[run];
    const int64_t length = std::min(run, count - at);
    produce(begin + at, std::span(values, static_cast<size_t>(length)));
    std::byte* to = out.data() + at * size_bytes(dtype);
    if (dtype == DType::f32) {
      std::memcpy(to, values, static_cast<size_t>(length) * sizeof(float));
    } else {
      for (int64_t i = 0; i < length; ++i) {
        const Bf16 narrow(values[i]);
        std::memcpy(to + i * 2, &narrow, 2);
      }
    }
  }
}

void check_request(const Weight& weight, int64_t row_begin, int64_t rows, DType dtype,
                   std::span<const std::byte> out) {
  if (dtype != DType::f32 && dtype != DType::bf16)
    fail("weight '{}': expected to be asked for f32 or bf16, not {}", weight.name, name(dtype));
  if (row_begin < 0 || rows < 0 || rows > weight.rows - row_begin ||
      static_cast<int64_t>(out.size()) != rows * weight.cols * size_bytes(dtype))
    fail("weight '{}': rows {} to {} of {} don't fit {} bytes", weight.name, row_begin,
         row_begin + rows, weight.rows, out.size());
}

// Calls visit(part, first row of the part, rows, offset of them in `out`) for the parts that
// [row_begin, row_begin + rows) touches.
template <class Visit>
void for_each_part(const Weight& weight, int64_t row_begin, int64_t rows, const Visit& visit) {
  int64_t part_begin = 0;
  for (const WeightPart& part : weight.parts) {
    const int64_t first = std::max(row_begin, part_begin);
    const int64_t last = std::min(row_begin + rows, part_begin + part.rows);
    if (first < last) visit(part, first - part_begin, last - first, first - row_begin);
    part_begin += part.rows;
  }
}

class CheckpointWeights final : public WeightSource {
 public:
  CheckpointWeights(const ModelSpec& spec, const std::filesystem::path& path)
      : checkpoint_(path), weights_(spec.weights) {
    for (Weight& weight : weights_)
      if (!weight.other_parts.empty() && !has(weight.parts.front()) &&
          has(weight.other_parts.front()))
        weight.parts = weight.other_parts;
    std::set<std::string_view> used;
    for (const Weight& weight : weights_)
      for (const WeightPart& part : weight.parts) {
        const TensorView& tensor = tensor_of(part);
        const std::string& source = checkpoint_.source();
        if (tensor.shape != part.file_shape)
          fail("{}: tensor '{}': expected shape {}, found {}", source, spelling(part),
               shape_text(part.file_shape), shape_text(tensor.shape));
        if (!tensor.is_float())
          fail("{}: tensor '{}': expected a floating-point dtype, found {}", source, spelling(part),
               tensor.stored_as);
        used.insert(spelling(part));
      }
    refuse_unused(spec, used);
  }

  void fill(WeightId id, int64_t row_begin, int64_t rows, DType dtype,
            std::span<std::byte> out) const override {
    const Weight& weight = weights_.at(static_cast<size_t>(id));
    check_request(weight, row_begin, rows, dtype, out);
    const int64_t row_bytes = weight.cols * size_bytes(dtype);
    for_each_part(weight, row_begin, rows,
                  [&](const WeightPart& part, int64_t first, int64_t count, int64_t offset) {
                    const TensorView& tensor = tensor_of(part);
                    const int64_t from = (part.row_begin + first) * weight.cols;
                    std::atomic<bool> is_finite = true;
                    store_elements(from, count * weight.cols, dtype,
                                   out.subspan(static_cast<size_t>(offset * row_bytes)),
                                   [&](int64_t begin, std::span<float> values) {
                                     read_elements(tensor, begin, part.scale, values);
                                     if (!std::ranges::all_of(values, is_number)) is_finite = false;
                                   });
                    if (!is_finite) refuse_number(part, from, count * weight.cols);
                  });
  }

  // Without the folders above the model's, which are nobody else's business.
  std::string description() const override {
    const std::filesystem::path file = checkpoint_.source();
    return (file.parent_path().filename() / file.filename()).string();
  }

 private:
  // A model that computes with what is no number measures and verifies nothing.
  [[noreturn]] void refuse_number(const WeightPart& part, int64_t begin, int64_t count) const {
    const TensorView& tensor = tensor_of(part);
    float value = 0;
    int64_t at = begin - 1;
    do read_elements(tensor, ++at, part.scale, std::span(&value, 1));
    while (std::isfinite(value) && at + 1 < begin + count);
    fail("{}: tensor '{}': element {} is {}, expected a finite number", checkpoint_.source(),
         printable(spelling(part)), at, value);
  }
  bool has(const WeightPart& part) const { return checkpoint_.find(spelling(part)) != nullptr; }
  const std::string& spelling(const WeightPart& part) const {
    for (const std::string& name : part.names)
      if (checkpoint_.find(name) != nullptr) return name;
    return part.names.front();
  }
  const TensorView& tensor_of(const WeightPart& part) const {
    const TensorView* tensor = checkpoint_.find(spelling(part));
    if (tensor == nullptr)
      fail("{}: tensor '{}': missing; expected with shape {}", checkpoint_.source(),
           fmt::join(part.names, "' or '"), shape_text(part.file_shape));
    return *tensor;
  }

  // Rotary frequencies follow from the config; what is empty is nothing (no meta tokens); a tied
  // lm_head may be stored a second time; a block of Zamba2 that one use has for itself comes with
  // the adapters of the others; GPT-Neo's masks were stored once; heads that predict several tokens
  // ahead are not run.
  bool is_harmless(const ModelSpec& spec, const std::string& name, const TensorView& tensor) const {
    if (name.ends_with(".rotary_emb.inv_freq") || tensor.data.empty()) return true;
    if (spec.family == "zamba2" && spec.lm_head != spec.embedding &&
        name.find("_adapter_list.") != std::string::npos)
      return true;
    if (spec.family == "gpt_neo" &&
        (name.ends_with(".attn.attention.bias") || name.ends_with(".attn.attention.masked_bias")))
      return true;
    if ((spec.family == "qwen3_next" || spec.family == "nemotron_h") && name.starts_with("mtp."))
      return true;
    if (name != "lm_head.weight" || spec.lm_head != spec.embedding) return false;
    const Weight& embedding = weights_.at(static_cast<size_t>(spec.embedding));
    return std::ranges::equal(tensor_of(embedding.parts.front()).data, tensor.data);
  }

  void refuse_unused(const ModelSpec& spec, const std::set<std::string_view>& used) const {
    constexpr size_t shown = 4;
    std::vector<std::string> unused;
    for (const auto& [name, tensor] : checkpoint_.tensors())
      if (!used.contains(name) && !is_harmless(spec, name, tensor))
        unused.push_back(fmt::format("'{}'", printable(name)));
    if (unused.empty()) return;
    const size_t count = unused.size();
    unused.resize(std::min(count, shown));
    fail("{}: expected only tensors of the {} model in config.json, found {} more: {}{}",
         checkpoint_.source(), spec.family, count, fmt::join(unused, ", "),
         count > shown ? ", ..." : "");
  }

  Checkpoint checkpoint_;
  std::vector<Weight> weights_;
};

// splitmix64 (Steele, Lea, Flood 2014): a bijection that scrambles a counter.
uint64_t scramble(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

float uniform(uint64_t bits) {
  return static_cast<float>(bits >> 40) * 0x1p-24F;
}  // [0, 1)

// Close to N(0, 1): the sum of four 16-bit uniforms, mean 2 * 65535 and variance 4 / 12 * 65536^2.
float normal(uint64_t bits) {
  const auto sum = static_cast<float>((bits & 0xffff) + ((bits >> 16) & 0xffff) +
                                      ((bits >> 32) & 0xffff) + (bits >> 48));
  return (sum - 131070.0F) * (1.7320508F / 65536.0F);
}

// One element of the distribution, from 64 random bits. Mamba's own parameters are drawn as its
// authors initialise them: A uniform in [1, 16], the time step log-uniform in [1e-3, 1e-1].
float draw(Draw kind, float linear_deviation, uint64_t bits) {
  switch (kind) {
    case Draw::linear:
    case Draw::embedding:
      return linear_deviation * normal(bits);
    case Draw::norm_weight:
    case Draw::d_skip:
      return 1.0F + 0.1F * normal(bits);
    case Draw::norm_offset:
      return 0.1F * normal(bits);
    case Draw::bias:
      return 0.02F * normal(bits);
    case Draw::a_log:
      return std::log(1.0F + 15.0F * uniform(bits));
    case Draw::dt_bias: {
      const float step = std::exp(std::log(1e-3F) + std::log(100.0F) * uniform(bits));
      return step + std::log(-std::expm1(-step));  // inverse of softplus
    }
  }
  return 0;
}

class SyntheticWeights final : public WeightSource {
 public:
  SyntheticWeights(const ModelSpec& spec, uint64_t seed) : seed_(seed), weights_(spec.weights) {}

  void fill(WeightId id, int64_t row_begin, int64_t rows, DType dtype,
            std::span<std::byte> out) const override {
    const Weight& weight = weights_.at(static_cast<size_t>(id));
    check_request(weight, row_begin, rows, dtype, out);
    const uint64_t key = key_of(weight.name);
    const float deviation = 1.0F / std::sqrt(static_cast<float>(weight.cols));
    const int64_t row_bytes = weight.cols * size_bytes(dtype);
    for_each_part(weight, row_begin, rows,
                  [&](const WeightPart& part, int64_t, int64_t count, int64_t offset) {
                    store_elements((row_begin + offset) * weight.cols, count * weight.cols, dtype,
                                   out.subspan(static_cast<size_t>(offset * row_bytes)),
                                   [&](int64_t begin, std::span<float> values) {
                                     for (float& value : values)
                                       value = part.scale *
                                               draw(weight.draw, deviation,
                                                    scramble(key + static_cast<uint64_t>(begin++)));
                                   });
                  });
  }

  std::string description() const override { return fmt::format("synthetic, seed {}", seed_); }

 private:
  uint64_t key_of(std::string_view name) const {
    uint64_t key = scramble(seed_);
    for (const char c : name) key = scramble(key ^ static_cast<unsigned char>(c));
    return key;
  }

  uint64_t seed_;
  std::vector<Weight> weights_;
};

}  // namespace

std::unique_ptr<WeightSource> checkpoint_weights(const ModelSpec& spec,
                                                 const std::filesystem::path& file_or_folder) {
  return std::make_unique<CheckpointWeights>(spec, file_or_folder);
}

std::unique_ptr<WeightSource> synthetic_weights(const ModelSpec& spec, uint64_t seed) {
  return std::make_unique<SyntheticWeights>(spec, seed);
}

}  // namespace tidemark
