#include "plan/footprint.h"

#include <algorithm>

namespace tidemark {
namespace {

int64_t bytes_of(const Plan& plan, Tag tag) {
  int64_t sum = 0;
  for (const Tensor& tensor : plan.tensors)
    if (tensor.tag == tag) sum += size_bytes(tensor);
  return sum;
}

}  // namespace

Footprint footprint(const ModelSpec& spec, DType dtype) {
  auto plan_at = [&](int64_t context) {
    return build_plan(spec, {.context = context, .chunk = 1, .dtype = dtype});
  };
  auto kv_at = [&](int64_t context) { return bytes_of(plan_at(context), Tag::kv_cache); };
  // Beyond every sliding window there is, but not beyond learned positions.
  const int64_t far = std::min(int64_t{1} << 24, max_context(spec, {}));
  const Plan plan = plan_at(far);
  Footprint f;
  f.weight_bytes = bytes_of(plan, Tag::weights);
  const int64_t kv = bytes_of(plan, Tag::kv_cache);
  if (far > 1) {
    f.kv_bytes_per_token = kv_at(2) - kv_at(1);
    f.kv_bytes_per_token_beyond = kv - kv_at(far - 1);
  }
  f.fixed_kv_bytes = kv - far * f.kv_bytes_per_token_beyond;
  f.ssm_state_bytes = bytes_of(plan, Tag::ssm_state);
  f.conv_state_bytes = bytes_of(plan, Tag::conv_state);
  return f;
}

}  // namespace tidemark
