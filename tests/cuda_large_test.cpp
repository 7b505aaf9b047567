// Operators on tensors of more than 2^31 elements, on a GPU with the memory for them. The scalar
// reference of so many tokens would take hours: what is compared are sampled tokens, of which the
// reference computes the few that still matter to them.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>

#include "backend/arena.h"
#include "backend/cuda_devices.h"
#include "backend/executor.h"
#include "base/bf16.h"
#include "base/error.h"
#include "plan/reference/reference.h"

namespace tidemark {
namespace {

constexpr int64_t tokens = 700'001, width = 3072;
static_assert(tokens * width > int64_t{1} << 31);

// A one-operator plan over `length` tokens.
struct LargePlan {
  Plan plan;
  TensorId out = no_tensor;
  LargePlan(int64_t length) {
    plan.workload.dtype = DType::bf16;
    plan.step(StepKind::tail).kind = StepKind::tail;
    plan.step(StepKind::tail).length = length;
  }
  Operand add(const std::string& name, Tag tag, int64_t rows, int64_t cols,
              DType dtype = DType::bf16) {
    return add_tensor(plan, {name, tag, dtype, rows, cols});
  }
  Operand act(const std::string& name, int64_t cols) {
    return add(name, Tag::activation, plan.step(StepKind::tail).length, cols);
  }
  Operand weight(const std::string& name, int64_t rows, int64_t cols = 1) {
    return add(name, Tag::weights, rows, cols);
  }
  LargePlan& with(const Operand& result, Op op) {
    out = result.tensor;
    plan.step(StepKind::tail).nodes.push_back({std::move(op), Role::embed, 0});
    return *this;
  }
};

struct LargeCase {
  std::string name;
  int64_t warm;  // tokens before one that matter to it
  std::function<LargePlan(int64_t length, int64_t past)> make;
};

std::vector<LargeCase> large_cases() {
  std::vector<LargeCase> cases;
  cases.push_back({"add", 0, [](int64_t l, int64_t) {
                     LargePlan p(l);
                     const Operand x = p.act("x", width), y = p.act("y", width);
                     const Operand out = p.act("out", width);
                     return p.with(out, Add{x, y, out, l, width});
                   }});
  cases.push_back({"norm", 0, [](int64_t l, int64_t) {
                     LargePlan p(l);
                     const Operand x = p.act("x", width), w = p.weight("w", width);
                     const Operand out = p.act("out", width);
                     return p.with(out, Norm{NormKind::rms, x, w, {}, out, l, 1, width, 1e-5F, 0});
                   }});
  cases.push_back({"gated_norm", 0, [](int64_t l, int64_t) {
                     LargePlan p(l);
                     const Operand x = p.act("x", width), z = p.act("z", width);
                     const Operand w = p.weight("w", width), out = p.act("out", width);
                     return p.with(out, GatedNorm{x, z, w, out, l, 2, width / 2, 1e-5F, false});
                   }});
  cases.push_back(
      {"glu", 0, [](int64_t l, int64_t) {
         LargePlan p(l);
         const Operand gate = p.act("gate_up", 2 * width), out = p.act("out", width);
         return p.with(out, Glu{Act::silu, gate, columns_from(gate, width), out, l, width});
       }});
  cases.push_back({"row_gate", 0, [](int64_t l, int64_t) {
                     LargePlan p(l);
                     const Operand gate = p.act("gate", 1), x = p.act("x", width);
                     const Operand out = p.act("out", width);
                     return p.with(out, RowGate{Act::sigmoid, gate, x, out, l, width});
                   }});
  cases.push_back({"rope", 0, [](int64_t l, int64_t past) {
                     LargePlan p(l);
                     const Operand q = p.act("q", width);
                     Rope op{q,           {}, {},  {},  {},  1, l,  past,
                             width / 128, 1,  128, 128, 128, 0, {}, 1};
                     for (int j = 0; j < 64; ++j)
                       op.inv_freq.push_back(std::pow(10000.0F, -static_cast<float>(j) / 64));
                     return p.with(q, std::move(op));
                   }});
  cases.push_back({"gemm", 0, [](int64_t l, int64_t) {
                     LargePlan p(l);
                     const Operand x = p.act("x", 64), w = p.weight("w", width, 64);
                     const Operand out = p.act("out", width);
                     return p.with(out, Gemm{x, w, {}, out, l, width, 64});
                   }});
  cases.push_back({"block_gemm", 0, [](int64_t l, int64_t) {
                     LargePlan p(l);
                     const Operand x = p.act("x", width), w = p.weight("w", width, 256);
                     const Operand out = p.act("out", width);
                     return p.with(out, BlockGemm{x, w, {}, out, l, width / 256, 256, 256});
                   }});
  cases.push_back({"conv1d", 3, [](int64_t l, int64_t past) {
                     LargePlan p(l);
                     const Operand x = p.act("x", width), w = p.weight("w", width, 4);
                     const Operand state = p.add("state", Tag::conv_state, width, 3);
                     const Operand out = p.act("out", width);
                     return p.with(out, Conv1d{x, w, {}, state, out, 1, l, past, width, 4, true});
                   }});
  cases.push_back({"selective_scan", 128, [](int64_t l, int64_t past) {
                     LargePlan p(l);
                     const Operand x = p.act("x", width), dt = p.act("dt", width);
                     const Operand bc = p.act("bc", 32), z = p.act("z", width);
                     const Operand a = p.weight("a_log", width, 16), d = p.weight("d", width);
                     const Operand bias = p.weight("dt_bias", width);
                     const Operand state = p.add("state", Tag::ssm_state, width, 16, DType::f32);
                     const Operand out = p.act("out", width);
                     return p.with(out, SelectiveScan{x, dt, bc, columns_from(bc, 16), z, a, d,
                                                      bias, state, out, 1, l, past, width, 16});
                   }});
  cases.push_back({"ssd", 128, [](int64_t l, int64_t past) {
                     LargePlan p(l);
                     constexpr int64_t heads = width / 64;
                     const Operand x = p.act("xbc", width + 128), dt = p.act("dt", heads);
                     const Operand a = p.weight("a_log", heads), d = p.weight("d", heads);
                     const Operand bias = p.weight("dt_bias", heads);
                     const Operand state = p.add("state", Tag::ssm_state, width, 64, DType::f32);
                     const Operand out = p.act("out", width);
                     return p.with(out, Ssd{SsdForm::chunked,
                                            x,
                                            dt,
                                            columns_from(x, width),
                                            columns_from(x, width + 64),
                                            a,
                                            d,
                                            bias,
                                            state,
                                            out,
                                            1,
                                            l,
                                            past,
                                            heads,
                                            64,
                                            1,
                                            64,
                                            64,
                                            0,
                                            0});
                   }});
  cases.push_back(
      {"gated_delta", 128, [](int64_t l, int64_t past) {
         LargePlan p(l);
         constexpr int64_t heads = width / 32;
         const Operand qkv = p.act("qkv", 32 + width), ab = p.act("ab", 2 * heads);
         const Operand a = p.weight("a_log", heads), bias = p.weight("dt_bias", heads);
         const Operand state = p.add("state", Tag::ssm_state, heads * 16, 32, DType::f32);
         const Operand out = p.act("out", width);
         return p.with(out, GatedDelta{SsdForm::recurrence, qkv, columns_from(qkv, 16),
                                       columns_from(qkv, 32), ab, columns_from(ab, heads), a, bias,
                                       state, out, 1, l, past, 1, heads, 16, 32, 64});
       }});
  cases.push_back({"rg_lru", 128, [](int64_t l, int64_t past) {
                     LargePlan p(l);
                     const Operand x = p.act("x", width), i = p.act("input", width);
                     const Operand r = p.act("recurrent", width), a = p.weight("param", width);
                     const Operand state = p.add("state", Tag::ssm_state, width, 1, DType::f32);
                     const Operand out = p.act("out", width);
                     return p.with(out, RgLru{x, i, r, a, state, out, 1, l, past, width});
                   }});
  return cases;
}

// Activations repeat after a prime number of tokens, which no power of two is a multiple of: an
// index that has lost its upper bits finds other values.
constexpr int64_t period = 4099;
float value(size_t tensor, int64_t row, int64_t col) {
  uint64_t h = (static_cast<uint64_t>(tensor) << 48) ^ (static_cast<uint64_t>(row % period) << 20) ^
               static_cast<uint64_t>(col);
  h = (h ^ (h >> 31)) * 0x9e3779b97f4a7c15u;
  h = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9u;
  return static_cast<float>(Bf16(static_cast<float>(h >> 40) / 8388608.0F - 1.0F));
}

void upload_pattern(Backend& backend, const Plan& plan) {
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const Tensor& t = plan.tensors[i];
    if (t.dtype != DType::bf16) continue;  // states are not read
    const int64_t rows = std::min(t.rows, period);
    std::vector<Bf16> pattern;
    pattern.reserve(static_cast<size_t>(rows * t.cols));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < t.cols; ++c) pattern.emplace_back(value(i, r, c));
    for (int64_t r = 0; r < t.rows; r += rows) {
      const auto count = static_cast<size_t>(std::min(rows, t.rows - r) * t.cols);
      backend.upload(static_cast<TensorId>(i), std::as_bytes(std::span(pattern).first(count)),
                     r * t.cols * 2);
    }
  }
}

// The operator's output at one token, from zero state `warm` tokens before.
std::vector<double> expected_at(const LargeCase& c, int64_t token) {
  const int64_t first = std::max<int64_t>(0, token - c.warm);
  const LargePlan small = c.make(token - first + 1, first);
  reference::Memory<double> memory(small.plan);
  for (size_t i = 0; i < small.plan.tensors.size(); ++i) {
    const Tensor& t = small.plan.tensors[i];
    if (t.dtype != DType::bf16 || t.tag == Tag::conv_state) continue;
    const int64_t shift = t.tag == Tag::activation ? first : 0;
    for (int64_t r = 0; r < t.rows; ++r)
      for (int64_t col = 0; col < t.cols; ++col)
        memory.tensors[i][static_cast<size_t>(r * t.cols + col)] = value(i, r + shift, col);
  }
  reference::run_op(small.plan.step(StepKind::tail).nodes.front().op, memory);
  const std::vector<double>& out = memory.tensors[static_cast<size_t>(small.out)];
  return {out.end() - width, out.end()};
}

TEST(CudaLarge, MoreThanTwoToThe31Elements) {
  if (list_cuda_devices().empty()) GTEST_SKIP() << cuda_absence();
  const auto backend = make_cuda_backend(0, 0);
  for (const LargeCase& c : large_cases()) {
    SCOPED_TRACE(c.name);
    const LargePlan large = c.make(tokens, 0);
    try {
      Executor executor(large.plan, *backend);
      upload_pattern(*backend, large.plan);
      backend->run_step(StepKind::tail, 0, nullptr);
      backend->synchronize();
      for (const int64_t token : {int64_t{2}, tokens / 2, (int64_t{1} << 31) / width, tokens - 1}) {
        std::vector<Bf16> found(width);
        backend->download(large.out, std::as_writable_bytes(std::span(found)), token * width * 2);
        const std::vector<double> expected = expected_at(c, token);
        double difference = 0, size = 0;
        for (size_t i = 0; i < expected.size(); ++i) {
          const double d = static_cast<double>(static_cast<float>(found[i])) - expected[i];
          difference += d * d;
          size += expected[i] * expected[i];
        }
        EXPECT_LE(std::sqrt(difference / size), 1e-2) << "token " << token;
      }
    } catch (const OutOfMemory& e) {
      GTEST_SKIP() << e.what();
    } catch (const Error& e) {
      ADD_FAILURE() << e.what();
    }
  }
}

}  // namespace
}  // namespace tidemark
