// The CUDA backend against the scalar references and the golden folders; skipped where there is no
// GPU.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <random>
#include <set>
#include <string_view>

#include "app/verify.h"
#include "backend/arena.h"
#include "backend/cuda_devices.h"
#include "backend/executor.h"
#include "base/bf16.h"
#include "base/error.h"
#include "model/load.h"
#include "op_cases.h"
#include "plan/reference/reference.h"

namespace tidemark {
namespace {

class Cuda : public testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    if (list_cuda_devices().empty()) GTEST_SKIP() << cuda_absence();
    backend_ = make_cuda_backend(0, 0);
  }
  std::unique_ptr<Backend> backend_;
};

// Values a tensor may hold, in its dtype's precision; states and scores keep a moderate scale.
std::vector<float> random_values(const Tensor& tensor, std::mt19937_64& random) {
  const bool decay = tensor.name == "a_log" || tensor.name == "dt" || tensor.name == "dt_bias";
  std::uniform_real_distribution<float> draw(decay ? -2.0F : -1.0F, 1.0F);
  std::vector<float> values(static_cast<size_t>(tensor.rows * tensor.cols));
  for (float& v : values) {
    v = draw(random);
    if (tensor.dtype == DType::bf16) v = static_cast<float>(Bf16(v));
  }
  return values;
}

void upload(Backend& backend, TensorId id, const Tensor& tensor, const std::vector<float>& values) {
  if (tensor.dtype == DType::f32) return backend.upload(id, std::as_bytes(std::span(values)), 0);
  std::vector<Bf16> raw;
  for (float v : values) raw.emplace_back(v);
  backend.upload(id, std::as_bytes(std::span(raw)), 0);
}

double relative_error(const std::vector<float>& out, const std::vector<double>& ref) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < ref.size(); ++i) {
    difference += (out[i] - ref[i]) * (out[i] - ref[i]);
    size += ref[i] * ref[i];
  }
  const double relative = std::sqrt(difference / size);
  return std::isfinite(relative) ? relative : INFINITY;
}

// The worst relative error over the tensors that the operator writes.
double error_of(const OpCase& op_case, Backend& backend, uint64_t seed) {
  std::mt19937_64 random(seed);
  Plan plan = op_case.plan;
  const Op& op = op_case.node().op;
  plan.step(StepKind::tail).length = std::visit(
      [](const auto& o) {
        if constexpr (requires { o.length; }) return o.length;
        return int64_t{1};
      },
      op);
  plan.workload.batch = std::visit(
      [](const auto& o) {
        if constexpr (requires { o.batch; }) return o.batch;
        return int64_t{1};
      },
      op);
  const int64_t past = std::visit(
      [](const auto& o) {
        if constexpr (requires { o.past; }) return o.past;
        return int64_t{0};
      },
      op);
  Executor executor(plan, backend);
  reference::Memory<double> memory(plan);
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const Tensor& tensor = plan.tensors[i];
    const auto id = static_cast<TensorId>(i);
    if (tensor.dtype == DType::i32) {
      std::vector<int32_t>& integers = id == plan.ids ? memory.ids : memory.integers[i];
      std::uniform_int_distribution<int32_t> draw(0, 36);
      for (int32_t& v : integers) v = draw(random);
      if (op_case.integers.contains(id)) integers = op_case.integers.at(id);
      backend.upload(id, std::as_bytes(std::span(integers)), 0);
      continue;
    }
    const std::vector<float> values = random_values(tensor, random);
    upload(backend, id, tensor, values);
    memory.tensors[i].assign(values.begin(), values.end());
  }
  backend.run_step(StepKind::tail, past, nullptr);
  backend.synchronize();
  reference::run_op(op, memory);
  double worst = 0;
  for (TensorId id : touched(op).writes) {
    if (id == plan.ids) {
      if (executor.ids() != memory.ids) return INFINITY;
      continue;
    }
    const Tensor& tensor = plan.tensors[static_cast<size_t>(id)];
    if (tensor.dtype == DType::i32) {
      std::vector<int32_t> found(static_cast<size_t>(tensor.rows * tensor.cols));
      backend.download(id, std::as_writable_bytes(std::span(found)), 0);
      if (found != memory.integers[static_cast<size_t>(id)]) return INFINITY;
      continue;
    }
    worst =
        std::max(worst, relative_error(executor.read(id), memory.tensors[static_cast<size_t>(id)]));
  }
  return worst;
}

// Operators still without a kernel say so; everything else must be right.
bool is_missing(const Error& error) {
  return std::string_view(error.what()).find("has no kernel for it yet") != std::string_view::npos;
}

TEST_P(Cuda, EveryOperatorAgreesWithItsReference) {
  const double tolerance = GetParam() == DType::f32 ? 1e-5 : 8e-3;
  for (const OpCase& op_case : op_cases(GetParam())) {
    double error = INFINITY;
    try {
      error = error_of(op_case, *backend_, 7);
    } catch (const Error& e) {
      if (!is_missing(e)) ADD_FAILURE() << op_case.name << ": " << e.what();
      continue;
    }
    EXPECT_LE(error, tolerance) << op_case.name;
  }
}

TEST_P(Cuda, GoldenFoldersPass) {
  for (const auto& entry : std::filesystem::directory_iterator(TIDEMARK_TEST_DATA "/golden"))
    for (const int64_t chunk : {1, 7, 16, 0}) {
      VerifyOptions options;
      options.dtype = GetParam();
      options.chunk = chunk;
      try {
        const VerifyResult result = verify_folder(entry.path(), *backend_, options);
        for (const TensorError& t : result.tensors)
          EXPECT_TRUE(t.ok()) << entry.path() << " chunk " << chunk << ": " << t.tensor << " "
                              << t.relative;
        EXPECT_TRUE(result.ok()) << entry.path() << " chunk " << chunk;
      } catch (const Error& e) {
        if (!is_missing(e)) ADD_FAILURE() << entry.path() << " chunk " << chunk << ": " << e.what();
      }
    }
}

class NothingToSee : public NodeObserver {
 public:
  void before(const Node&, size_t) override {}
  void after(const Node&, size_t) override {}
};

// A step of one token runs as few kernels, each of several operators; under an observer every
// operator runs on its own. Two tokens of either must leave the same states, caches and logits.
TEST(CudaFusion, StepsAgreeWithTheirOperatorsOneByOne) {
  if (list_cuda_devices().empty()) GTEST_SKIP() << cuda_absence();
  const auto backend = make_cuda_backend(0, 0);
  for (const char* preset : {"mamba2-130m", "mamba-130m", "qwen2.5-0.5b", "falcon-h1-0.5b"}) {
    SCOPED_TRACE(preset);
    const ModelSpec spec = load_spec(preset);
    const auto weights = synthetic_weights(spec, 1);
    Executor executor(
        build_plan(spec, {.context = 50, .new_tokens = 3, .chunk = 50, .dtype = DType::bf16}),
        *backend);
    executor.fill_weights([&](const Tensor& tensor, std::span<std::byte> out) {
      weights->fill(tensor.weight, 0, tensor.rows, tensor.dtype, out);
    });
    std::vector<int32_t> prompt(50);
    for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(37 * i % 1000);
    const Plan& plan = executor.plan();
    const Step& decode = plan.step(StepKind::decode);
    const auto tokens_under = [&](NodeObserver* observer) {
      executor.set_prompt(prompt);
      executor.prefill();
      for (const int64_t past : {50, 51}) {
        executor.set_id(0, past, 11);  // whatever the argmax was
        executor.decode(past, observer);
      }
      std::vector<std::vector<float>> found;
      for (size_t i = 0; i < plan.tensors.size(); ++i) {
        const Tag tag = plan.tensors[i].tag;
        const auto id = static_cast<TensorId>(i);
        if (id == decode.logits || id == decode.final_hidden || tag == Tag::ssm_state ||
            tag == Tag::conv_state || tag == Tag::kv_cache)
          found.push_back(executor.read(id));
        else
          found.emplace_back();
      }
      return found;
    };
    NothingToSee observer;
    const auto fused = tokens_under(nullptr), alone = tokens_under(&observer);
    double worst = 0;
    std::set<Tag> seen;  // the first of a tag lies in the first layer, where few roundings differ
    for (size_t i = 0; i < fused.size(); ++i) {
      double difference = 0, size = 0;
      for (size_t j = 0; j < fused[i].size(); ++j) {
        if (std::isnan(fused[i][j]) && std::isnan(alone[i][j])) continue;  // not written yet
        difference += (fused[i][j] - alone[i][j]) * (fused[i][j] - alone[i][j]);
        size += alone[i][j] * alone[i][j];
      }
      if (fused[i].empty()) continue;
      const double error = std::sqrt(difference / size);
      worst = std::max(worst, error);
      const Tag tag = plan.tensors[i].tag;
      const bool first = tag != Tag::logits && tag != Tag::activation && seen.insert(tag).second;
      EXPECT_LE(error, first ? 5e-3 : 6e-2) << plan.tensors[i].name << " (" << i << ")";
    }
    std::printf("%s: worst relative difference %.1e\n", preset, worst);
  }
}

// A limit leaves the arenas what driver and libraries do not take.
TEST(CudaMemory, LimitCountsDriverAndLibraries) {
  if (list_cuda_devices().empty()) GTEST_SKIP() << cuda_absence();
  const ModelSpec spec = load_spec("mamba2-130m");
  const Plan plan = build_plan(spec, {.context = 64, .chunk = 64, .dtype = DType::bf16});
  int64_t arenas = 0;
  const auto bytes_under = [&](int64_t limit_bytes) {
    const auto backend = make_cuda_backend(0, limit_bytes);
    Executor executor(plan, *backend);
    arenas = executor.layout().size_bytes.total();
    return backend->overhead_bytes() + arenas;
  };
  const int64_t taken = bytes_under(0);  // with all that this process has loaded by now
  EXPECT_GT(taken, arenas + (int64_t{64} << 20)) << "a context takes that much";
  EXPECT_LE(bytes_under(taken + (int64_t{64} << 20)), taken + (int64_t{64} << 20));
  EXPECT_THROW(bytes_under(taken - (int64_t{64} << 20)), OutOfMemory);
  EXPECT_THROW(bytes_under(arenas + 1), OutOfMemory) << "the arenas alone would fit";
}

INSTANTIATE_TEST_SUITE_P(DTypes, Cuda, testing::Values(DType::f32, DType::bf16),
                         [](const auto& info) { return std::string(name(info.param)); });

}  // namespace
}  // namespace tidemark
