// Reading config.json: typed, checked, with the value that transformers takes when a key is absent
// or null. Shared by every family.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "model/spec.h"

namespace tidemark {

// Bounds every dimension, so that products of a few of them fit in int64_t.
inline constexpr int64_t max_dimension = int64_t{1} << 24;
inline constexpr int64_t max_layers = 4096;
inline constexpr int64_t max_heads = 65536;
inline constexpr int64_t max_head_dim = 8192;
inline constexpr int64_t max_experts = 65536;

int64_t dimension(const Json& config, std::string_view key, int64_t fallback,
                  int64_t most = max_dimension);
bool flag(const Json& config, std::string_view key, bool fallback);
double finite(const Json& config, std::string_view key, double fallback);
double positive(const Json& config, std::string_view key, double fallback);

// Of two names of one key the one that transformers goes by: `other`, if the config has it.
std::string_view key_of(const Json& config, std::string_view name, std::string_view other);

// Fails naming `key` unless `value` divides `of`, the value of `of_name`.
void check_divides(const Json& config, std::string_view key, int64_t value, int64_t of,
                   std::string_view of_name);
// a * b, failing on `key` when it is no dimension any more.
int64_t product(const Json& config, std::string_view key, int64_t a, int64_t b);

Act activation(const Json& config, std::string_view key, Act fallback);
// The convolution of Mamba and its gate are SiLU in every backend.
void require_silu(const Json& config, std::string_view key);
void require_flag(const Json& config, std::string_view key, bool expected);

// Head counts and head width of the usual keys. The width is `head_dim`, if given, else the key's,
// else hidden / heads.
struct Heads {
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
};
Heads read_heads(const Json& config, int64_t hidden, int64_t default_heads,
                 std::optional<int64_t> default_kv_heads, int64_t head_dim = 0);

// What a family's RoPE has of its own: the values of absent keys, and which keys count.
struct RopeRules {
  double theta = 10000, fraction = 1;
  bool partial = false;          // heads may be rotated in part: of others transformers ignores it
  bool top_fraction = true;      // false: partial_rotary_factor counts in rope_parameters alone
  int64_t max_positions = 2048;  // max_position_embeddings; 0: it must be there
  // original_max_position_embeddings, which then counts outside rope_parameters alone. 0: it counts
  // in either place, and absent it is max_position_embeddings.
  int64_t original_positions = 0;
  bool longrope_alone = false;  // yarn and su mean longrope, and no other scaling is known
};
// rope_parameters (transformers 5) or rope_theta with rope_scaling (before); types default, linear,
// llama3, yarn and longrope.
RopeSpec read_rope(const Json& config, int64_t head_dim, const RopeRules& rules = {});

// One kind per layer, from the list of strings `key` in the spelling of transformers 5: what it
// calls linear_attention and full_attention was mamba and attention before.
std::vector<std::string> read_layer_kinds(const Json& config, std::string_view key, int64_t layers);
// Positions each layer of Qwen2 and Qwen3 sees; 0 for all.
std::vector<int64_t> read_qwen_windows(const Json& config, int64_t layers);
// The indices in the list `key`, as one flag per layer; absent: none.
std::vector<bool> read_layer_flags(const Json& config, std::string_view key, int64_t layers);
// "auto" or absent: a sixteenth of the width, rounded up.
int64_t read_dt_rank(const Json& config, std::string_view key, int64_t hidden);

// time_step_limit as Mamba2Block wants it: an upper bound of 0 is none.
struct TimeStepLimit {
  double least = 0, most = 0;
};
TimeStepLimit read_time_step_limit(const Json& config, std::string_view key);

}  // namespace tidemark
