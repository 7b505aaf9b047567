#include "op_conformance.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>

#include "backend/backend.h"
#include "base/bf16.h"
#include "base/error.h"
#include "op_cases.h"
#include "plan/memory.h"
#include "plan/reference/reference.h"

namespace tidemark {
namespace {

// Values of the scale a model has, so that no exponential or sum is trivial.
double draw(const Tensor& tensor, std::mt19937_64& random) {
  std::normal_distribution<double> normal(0, 1);
  if (tensor.name == "a_log") return std::uniform_real_distribution<double>(-1, 2.8)(random);
  if (tensor.name == "dt_bias") return std::uniform_real_distribution<double>(-5, 0)(random);
  if (tensor.name == "scales") return std::uniform_real_distribution<double>(2e-3, 9e-3)(random);
  if (tensor.dtype == DType::i8)
    return static_cast<double>(std::uniform_int_distribution<int>(-127, 127)(random));
  if (tensor.tag == Tag::weights) return 0.4 * normal(random);
  if (tensor.name == "logits") return std::round(8 * normal(random));  // with ties for argmax
  return normal(random);
}

int64_t past_of(const Op& op) {
  return std::visit(
      [](const auto& o) {
        if constexpr (requires { o.past; }) return o.past;
        return int64_t{0};
      },
      op);
}

// Fills a tensor of the backend and of the reference with the same values.
void fill(Backend& backend, const OpCase& c, TensorId id, reference::Memory<double>& memory,
          std::mt19937_64& random) {
  const Plan& plan = c.plan;
  const Tensor& tensor = plan.tensors[static_cast<size_t>(id)];
  const auto count = static_cast<size_t>(tensor.rows * tensor.cols);
  std::vector<double>& values = memory.tensors[static_cast<size_t>(id)];
  std::vector<float> floats(count);
  std::vector<Bf16> halves(count);
  std::vector<int8_t> bytes8(count);
  std::vector<int32_t> ids(count);
  for (size_t i = 0; i < count; ++i) {
    floats[i] = static_cast<float>(draw(tensor, random));
    halves[i] = Bf16(floats[i]);
    if (tensor.dtype == DType::i8) bytes8[i] = static_cast<int8_t>(floats[i]);
    ids[i] = static_cast<int32_t>(random() % 37);
    values[i] = tensor.dtype == DType::bf16 ? static_cast<float>(halves[i]) : floats[i];
  }
  if (c.integers.contains(id)) ids = c.integers.at(id);
  if (id == plan.ids)
    memory.ids = ids;
  else if (tensor.dtype == DType::i32)
    memory.integers[static_cast<size_t>(id)] = ids;
  const auto bytes = tensor.dtype == DType::i32    ? std::as_bytes(std::span(ids))
                     : tensor.dtype == DType::bf16 ? std::as_bytes(std::span(halves))
                     : tensor.dtype == DType::i8   ? std::as_bytes(std::span(bytes8))
                                                   : std::as_bytes(std::span(floats));
  backend.upload(id, bytes, 0);
}

std::vector<double> values_of(const Backend& backend, const Plan& plan, TensorId id) {
  const Tensor& tensor = plan.tensors[static_cast<size_t>(id)];
  std::vector<std::byte> bytes(static_cast<size_t>(size_bytes(tensor)));
  backend.download(id, bytes, 0);
  std::vector<double> values(static_cast<size_t>(tensor.rows * tensor.cols));
  for (size_t i = 0; i < values.size(); ++i) {
    if (tensor.dtype == DType::i32)
      values[i] = reinterpret_cast<const int32_t*>(bytes.data())[i];
    else if (tensor.dtype == DType::bf16)
      values[i] = static_cast<float>(reinterpret_cast<const Bf16*>(bytes.data())[i]);
    else if (tensor.dtype == DType::i8)
      values[i] = reinterpret_cast<const int8_t*>(bytes.data())[i];
    else
      values[i] = reinterpret_cast<const float*>(bytes.data())[i];
  }
  return values;
}

double relative_error(const std::vector<double>& found, const std::vector<double>& expected) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    difference += (found[i] - expected[i]) * (found[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return size > 0 ? std::sqrt(difference / size) : std::sqrt(difference);
}

void check(Backend& backend, const OpCase& c, const Tolerance& tolerance, std::mt19937_64& random) {
  const Plan& plan = c.plan;
  const MemoryLayout layout = layout_on(backend, plan);
  backend.attach(plan, layout);
  reference::Memory<double> memory(plan);
  for (size_t id = 0; id < plan.tensors.size(); ++id)
    fill(backend, c, static_cast<TensorId>(id), memory, random);

  backend.run_step(StepKind::tail, past_of(c.node().op), nullptr);
  backend.synchronize();
  reference::run_op(c.node().op, memory);

  // Everything, not only what is written: inputs must be left alone.
  for (size_t id = 0; id < plan.tensors.size(); ++id) {
    const Tensor& tensor = plan.tensors[id];
    const auto found = values_of(backend, plan, static_cast<TensorId>(id));
    std::vector<double> expected = memory.tensors[id];
    if (tensor.dtype == DType::i32) {
      const bool is_ids = static_cast<TensorId>(id) == plan.ids;
      const std::vector<int32_t>& integers = is_ids ? memory.ids : memory.integers[id];
      expected.assign(integers.begin(), integers.end());
    }
    const double error = relative_error(found, expected);
    const double most = tensor.dtype == DType::bf16    ? tolerance.bf16
                        : tensor.tag == Tag::ssm_state ? tolerance.state
                                                       : tolerance.f32;
    EXPECT_LE(error, most) << tensor.name;
  }
  EXPECT_EQ(backend.high_water(), layout.size_bytes) << "memory was planned and not used";
  backend.detach();
}

}  // namespace

void expect_conforming(Backend& backend, DType dtype, const Tolerance& tolerance) {
  for (const OpCase& c : op_cases(dtype)) {
    SCOPED_TRACE(c.name);
    std::seed_seq seed(c.name.begin(), c.name.end());  // new cases leave the others as they were
    std::mt19937_64 random(seed);
    try {
      check(backend, c, tolerance, random);
    } catch (const Error& e) {
      ADD_FAILURE() << e.what();
    }
  }
}

}  // namespace tidemark
