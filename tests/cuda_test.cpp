// The CUDA backend against the scalar references and the golden folders; skipped where there is no
// GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <set>

#include "backend/arena.h"
#include "backend/cuda_devices.h"
#include "backend/executor.h"
#include "base/error.h"
#include "golden_folders.h"
#include "measure/harness.h"
#include "model/load.h"
#include "op_conformance.h"

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

TEST_P(Cuda, EveryOperatorAgreesWithItsReference) {
  const double state = GetParam() == DType::bf16 ? 8e-3 : 1e-5;
  expect_conforming(*backend_, GetParam(), {.f32 = 1e-5, .bf16 = 8e-3, .state = state});
}

TEST_P(Cuda, GoldenFoldersPass) {
  expect_golden_folders(*backend_, GetParam());
}

// What a record says ran is what runs: the gate of an MLP is part of the projection before it.
TEST(CudaRecords, NameWhatOneLaunchDoesForSeveral) {
  if (list_cuda_devices().empty()) GTEST_SKIP() << cuda_absence();
  const auto backend = make_cuda_backend(0, 0);
  const Plan plan =
      build_plan(load_spec("qwen2.5-0.5b"), {.context = 8, .new_tokens = 2, .dtype = DType::bf16});
  Executor executor(plan, *backend);
  executor.set_prompt(std::vector<int32_t>(8, 1));
  executor.prefill();
  executor.decode(8);
  const std::vector<Node>& nodes = plan.step(StepKind::decode).nodes;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const std::string ran = backend->implementation(StepKind::decode, i);
    if (std::holds_alternative<Glu>(nodes[i].op)) {
      EXPECT_NE(ran.find("part of the launch before"), std::string::npos) << ran;
    } else if (std::holds_alternative<Argmax>(nodes[i].op)) {
      EXPECT_EQ(ran, "argmax");
    }
  }
}

// Costs are of what runs: Mamba-2's blocks are as long as the kernel's, whatever the model's chunk.
TEST(CudaForms, ArePartOfThePlan) {
  if (list_cuda_devices().empty()) GTEST_SKIP() << cuda_absence();
  const auto backend = make_cuda_backend(0, 0);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Executor executor(build_plan(load_spec("mamba2-130m"), {.context = 512, .dtype = dtype}),
                            *backend);
    int found = 0;
    for (const Node& node : executor.plan().step(StepKind::tail).nodes)
      if (const auto* ssd = std::get_if<Ssd>(&node.op)) {
        ++found;
        EXPECT_EQ(ssd->form, dtype == DType::bf16 ? SsdForm::chunked : SsdForm::recurrence);
        EXPECT_EQ(ssd->chunk, dtype == DType::bf16 ? 64 : 256);
      }
    EXPECT_EQ(found, 24);
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
        backend->run_step(StepKind::decode, past, observer);
        backend->synchronize();
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

// Rows of operators by the device's clock are what a pass takes by the host's: long launches leave
// the device no time to stand still, whether they are watched or not.
TEST(CudaProfile, RowsAddUpToTheStepThatNobodyWatches) {
  if (list_cuda_devices().empty()) GTEST_SKIP() << cuda_absence();
  const auto backend = make_cuda_backend(0, 0);
  for (const char* preset : {"qwen2.5-0.5b", "mamba2-130m"}) {
    SCOPED_TRACE(preset);
    const ModelSpec spec = load_spec(preset);
    const auto weights = synthetic_weights(spec, 1);
    Executor executor(build_plan(spec, {.context = 16384, .chunk = 16384, .dtype = DType::bf16}),
                      *backend);
    executor.fill_weights([&](const Tensor& tensor, std::span<std::byte> out) {
      weights->fill(tensor.weight, 0, tensor.rows, tensor.dtype, out);
    });
    executor.set_prompt(std::vector<int32_t>(16384, 1));
    std::array<double, 5> unwatched_s{};
    executor.prefill();
    for (double& time_s : unwatched_s) {
      const double start_s = steady_now_s();
      executor.prefill();
      time_s = steady_now_s() - start_s;
    }
    std::sort(unwatched_s.begin(), unwatched_s.end());
    executor.profile_step(Phase::prefill, 0, steady_now_s);
    const StepProfile profile = executor.profile_step(Phase::prefill, 0, steady_now_s);
    ASSERT_TRUE(profile.device) << "no CUPTI";
    double rows_s = 0;
    for (const NodeTime& node : profile.nodes) rows_s += node.time_s;
    std::printf("%s: rows %.3f ms, busy %.3f ms, unwatched %.3f ms\n", preset, rows_s * 1e3,
                profile.device->busy_s * 1e3, unwatched_s[2] * 1e3);
    EXPECT_NEAR(rows_s / profile.device->busy_s, 1, 0.02);
    EXPECT_NEAR(rows_s / unwatched_s[2], 1, 0.15);
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, Cuda, testing::Values(DType::f32, DType::bf16),
                         [](const auto& info) { return std::string(name(info.param)); });

}  // namespace
}  // namespace tidemark
