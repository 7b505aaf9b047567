#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "emulated_tiles.h"

namespace tidemark {
namespace {

class Ignored : public NodeObserver {
  void before(const Node&, size_t) override {}
  void after(const Node&, size_t) override {}
};

struct GatedCase {
  int64_t m, width, k;
  bool bias = false;
  float scale = 1;
  Act act = Act::silu;
};

// A product and the gate of its halves, on random values.
struct GatedProduct {
  GatedProduct(const GatedCase& c, const cpu::Bf16Unit* unit, int threads)
      : backend(threads, 0, unit) {
    const auto add = [&](Tag tag, int64_t rows, int64_t cols) {
      return add_tensor(plan, {"tensor", tag, DType::bf16, rows, cols});
    };
    x = add(Tag::activation, c.m, c.k), weight = add(Tag::weights, 2 * c.width, c.k);
    bias = add(Tag::weights, 1, 2 * c.width), out = add(Tag::activation, c.m, 2 * c.width);
    plan.step(StepKind::tail).nodes = {
        {Gemm{x, weight, c.bias ? bias : Operand{}, out, c.m, 2 * c.width, c.k, c.scale},
         Role::mlp_up, 0},
        {Glu{c.act, out, columns_from(out, c.width), out, c.m, c.width}, Role::mlp_act, 0}};
    backend.attach(plan, layout_on(backend, plan));
    std::mt19937 random(7);
    std::normal_distribution<float> normal(0, 1);
    for (const Operand& operand : {x, weight, bias}) {
      const Tensor& tensor = plan.tensors[static_cast<size_t>(operand.tensor)];
      std::vector<Bf16> values(static_cast<size_t>(tensor.rows * tensor.cols));
      const float size = operand == weight ? 0.1F : 1.0F;
      for (Bf16& value : values) value = Bf16(size * normal(random));
      backend.upload(operand.tensor, std::as_bytes(std::span(values)), 0);
    }
  }

  // The gated half of the result.
  std::vector<float> run(const GatedCase& c, NodeObserver* observer) {
    std::vector<Bf16> values(static_cast<size_t>(c.m * 2 * c.width));
    backend.upload(out.tensor, std::as_bytes(std::span(values)), 0);
    backend.run_step(StepKind::tail, 0, observer);
    backend.download(out.tensor, std::as_writable_bytes(std::span(values)), 0);
    std::vector<float> gated;
    for (int64_t i = 0; i < c.m; ++i)
      for (int64_t j = 0; j < c.width; ++j)
        gated.push_back(static_cast<float>(values[static_cast<size_t>(i * 2 * c.width + j)]));
    return gated;
  }
  bool is_one_product() const {
    return backend.implementation(StepKind::tail, 1).find("part of the product before") !=
           std::string::npos;
  }

  CpuBackend backend;
  Plan plan;
  Operand x, weight, bias, out;
};

// What an observer sees, operator by operator, and what runs without one are the same numbers.
void expect_same_with_gate(const cpu::Bf16Unit& unit) {
  struct Expected {
    GatedCase gated;
    bool is_one_product;
  };
  for (const auto& [c, is_one_product] :
       {Expected{{37, 48, 64}, true},
        {{300, 112, 96, true, 1, Act::gelu_tanh}, true},
        {{520, 1040, 32, true, 0.5F}, true},  // beyond 1 MiB: written past the caches
        {{40, 176, 2144, true}, true},        // the depth is cut
        {{40, 40, 64}, false},                // half a group of 16
        {{40, 48, 72}, false},                // no whole tiles deep
        {{5, 48, 64}, false}})                // no tiles: few rows
    for (const int threads : {1, 2, 3}) {
      SCOPED_TRACE(testing::Message()
                   << unit.name << ": " << c.m << " x 2 * " << c.width << " x " << c.k);
      GatedProduct product(c, &unit, threads);
      Ignored observer;
      const std::vector<float> apart = product.run(c, &observer),
                               together = product.run(c, nullptr);
      EXPECT_EQ(product.is_one_product(), is_one_product);
      EXPECT_EQ(apart, together);
    }
}

TEST(GemmOnUnit, TakesTheGateOfItsHalvesAlong) {
  expect_same_with_gate(cpu::emulated_tiles);
  if (cpu::dot_unit()) expect_same_with_gate(*cpu::dot_unit());
}

TEST(GemmOnAmx, TakesTheGateOfItsHalvesAlong) {
  if (!cpu::amx_unit()) GTEST_SKIP() << "no AMX";
  expect_same_with_gate(*cpu::amx_unit());
}

}  // namespace
}  // namespace tidemark
