// Route: scores of all experts, the best top_k of each token, then slots in the order of experts.
// Choosing takes the maximum top_k times, a vector of experts at a time; the slots are a counting
// sort. fp32 throughout. Small beside the router's product and the experts.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/route.cpp"
#include "backend/cpu/targets.h"
// After the targets:
#include <algorithm>

#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::cpu::HWY_NAMESPACE {
namespace {

// scratch: p [E], choice [E] padded with minus infinity.
void scores(const Route& op, const float* logits, float* p) {
  const int64_t e = op.experts;
  if (op.score == RouterScore::sigmoid) {
    for (int64_t i = 0; i < e; i += lanes) store(sigmoid(load_row(logits + i, e - i)), p + i);
    return;
  }
  float peak = -HUGE_VALF;
  for (int64_t i = 0; i < e; ++i) peak = std::max(peak, logits[i]);
  float total = 0;
  for (int64_t i = 0; i < e; i += lanes) {
    const Vec v = exp(hn::Sub(load_row(logits + i, e - i), all(peak)));
    store(v, p + i);
  }
  for (int64_t i = 0; i < e; ++i) total += p[i];
  for (int64_t i = 0; i < e; i += lanes) store(hn::Div(load(p + i), all(total)), p + i);
}

// The first of the largest of `used` values, behind which -inf fills up a vector. Of values that
// are no numbers any: it is always one of them, as experts are counted and written by it.
int64_t best_of(const float* values, int64_t used) {
  const int64_t count = round_up(used, vector_floats);
  Vec best = all(-HUGE_VALF);
  for (int64_t i = 0; i < count; i += lanes) best = hn::Max(best, load(values + i));
  const float largest = max(best);
  int64_t i = 0;
  while (i + 1 < used && values[i] != largest) ++i;
  return i;
}

// Takes the experts of all but the best groups out of the choice. sums, kept: [groups] padded.
void keep_best_groups(const Route& op, float* choice, float* sums, float* kept) {
  const int64_t members = op.experts / op.groups, padded = round_up(op.groups, vector_floats);
  std::fill(sums, sums + padded, -HUGE_VALF);
  std::fill(kept, kept + padded, 0.0F);
  for (int64_t g = 0; g < op.groups; ++g) {
    const float* group = choice + g * members;
    float first = -HUGE_VALF, second = -HUGE_VALF;
    for (int64_t i = 0; i < members; ++i) {
      if (group[i] > first)
        second = first, first = group[i];
      else
        second = std::max(second, group[i]);
    }
    sums[g] = members > 1 ? first + second : first;
  }
  for (int64_t i = 0; i < op.top_groups; ++i) {
    const int64_t g = best_of(sums, op.groups);
    sums[g] = -HUGE_VALF;
    kept[g] = 1;
  }
  for (int64_t i = 0; i < op.experts; ++i)
    if (kept[i / members] == 0) choice[i] = -HUGE_VALF;
}

// Tokens [begin, end): weights, and the chosen experts where their slots will be.
void choose(const Route& op, const CpuContext& context, int64_t begin, int64_t end,
            float* scratch) {
  const float* logits = context.pointer<float>(op.logits, op.rows, op.experts);
  float* weights = context.pointer<float>(op.weights, op.rows, op.top_k);
  int32_t* chosen = context.pointer<int32_t>(op.position, op.rows, op.top_k);
  const int64_t padded = round_up(op.experts, vector_floats);
  float* p = scratch;
  float* choice = p + padded;
  float* groups = choice + padded;
  for (int64_t row = begin; row < end; ++row) {
    scores(op, logits + row * op.logits.stride, p);
    std::copy(p, p + op.experts, choice);
    std::fill(choice + op.experts, choice + padded, -HUGE_VALF);
    if (op.bias && context.is_f32(op.bias)) {
      const float* bias = context.block<float>(op.bias, op.experts);
      for (int64_t i = 0; i < op.experts; ++i) choice[i] += bias[i];
    } else if (op.bias) {
      const Bf16* bias = context.block<Bf16>(op.bias, op.experts);
      for (int64_t i = 0; i < op.experts; ++i) choice[i] += static_cast<float>(bias[i]);
    }
    if (op.groups > 1)
      keep_best_groups(op, choice, groups, groups + round_up(op.groups, vector_floats));
    float* weight = weights + row * op.weights.stride;
    int32_t* expert = chosen + row * op.position.stride;
    float total = 0;
    for (int64_t j = 0; j < op.top_k; ++j) {
      const int64_t best = best_of(choice, op.experts);
      choice[best] = -HUGE_VALF;
      expert[j] = static_cast<int32_t>(best);
      weight[j] = p[best];
      total += p[best];
    }
    const float factor = op.normalize ? op.scale / total : op.scale;
    for (int64_t j = 0; j < op.top_k; ++j) weight[j] *= factor;
  }
}

}  // namespace
}  // namespace tidemark::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::cpu {
HWY_EXPORT(choose);

namespace {

int64_t scratch_floats(const Route& op) {
  return 2 * (round_up(op.experts, vector_floats) + round_up(op.groups, vector_floats));
}

// Counting sort by expert; within one by token. `position` holds experts and becomes slots.
void assign_slots(const Route& op, const CpuContext& context) {
  int32_t* position = context.pointer<int32_t>(op.position, op.rows, op.top_k);
  int32_t* token = context.pointer<int32_t>(op.token, op.rows * op.top_k, 1);
  int32_t* first = context.pointer<int32_t>(op.first, op.experts + 1, 1);
  const int64_t token_stride = op.token.stride, first_stride = op.first.stride;
  std::fill(first, first + op.experts * first_stride + 1, 0);
  const auto each = [&](const auto& visit) {
    for (int64_t row = 0; row < op.rows; ++row)
      for (int64_t j = 0; j < op.top_k; ++j) visit(row, position[row * op.position.stride + j]);
  };
  each([&](int64_t, int32_t expert) { ++first[(expert + 1) * first_stride]; });
  for (int64_t e = 0; e < op.experts; ++e) first[(e + 1) * first_stride] += first[e * first_stride];
  each([&](int64_t row, int32_t& expert) {
    const int32_t slot = first[expert * first_stride]++;
    token[slot * token_stride] = static_cast<int32_t>(row);
    expert = slot;
  });
  // Every start has moved to the next one's.
  for (int64_t e = op.experts; e > 0; --e) first[e * first_stride] = first[(e - 1) * first_stride];
  first[0] = 0;
}

}  // namespace

int64_t workspace_bytes(const Route& op, const CpuContext& context) {
  return context.threads * scratch_floats(op) * 4;
}

void run(const Route& op, const CpuContext& context) {
  auto* scratch = context.workspace<float>(workspace_bytes(op, context));
  parallel_ranges(context.threads, op.rows, 1 + 4096 / op.experts,
                  [&](int64_t begin, int64_t end, int thread) {
                    HWY_DYNAMIC_DISPATCH(choose)
                    (op, context, begin, end, scratch + thread * scratch_floats(op));
                  });
  assign_slots(op, context);
}

}  // namespace tidemark::cpu
#endif
