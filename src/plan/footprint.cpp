#include "plan/footprint.h"

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
  // Both beyond every sliding window there is.
  constexpr int64_t near = int64_t{1} << 24, far = 2 * near;
  auto plan_at = [&](int64_t context) {
    return build_plan(spec, {.context = context, .chunk = 1, .dtype = dtype});
  };
  const Plan a = plan_at(near), b = plan_at(far);
  Footprint f;
  const int64_t kv = bytes_of(a, Tag::kv_cache);
  f.kv_bytes_per_token = (bytes_of(b, Tag::kv_cache) - kv) / (far - near);
  f.fixed_kv_bytes = kv - near * f.kv_bytes_per_token;
  f.ssm_state_bytes = bytes_of(a, Tag::ssm_state);
  f.conv_state_bytes = bytes_of(a, Tag::conv_state);
  return f;
}

}  // namespace tidemark
