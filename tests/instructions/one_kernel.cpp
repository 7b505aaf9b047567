// Runs one CPU kernel, for tests/instructions/check to count its instructions: one_kernel KERNEL
// f32|bf16. Prints the elements that are gone through while counting, and the instruction set that
// the kernel was dispatched to.
#include <fmt/format.h>
#include <hwy/nanobenchmark.h>

#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/gemm.h"
#include "base/bf16.h"
#include "base/error.h"
#include "instructions/stream.h"
#include "plan/memory.h"

// Highway's library tries its timer out when it is loaded, with an instruction (RDTSCP) that
// valgrind refuses where the processor does not own up to it. Nothing here uses that timer.
namespace hwy::platform {
uint64_t TimerResolution() {
  return 1;
}
}  // namespace hwy::platform

// What callgrind counts, found by this name: all that happens in it.
constexpr int counted_runs = 4;
extern "C" [[gnu::noinline]] void tidemark_counted(const std::function<void()>& run) {
  for (int i = 0; i < counted_runs; ++i) run();
}

namespace tidemark {
namespace {

// One operator and its tensors. Values are those a model has: no exponential may be trivial.
struct Kernel {
  Plan plan;
  DType dtype;
  int64_t elements = 0;  // per run

  Operand add(const char* name, Tag tag, int64_t rows, int64_t cols, DType type) {
    return add_tensor(plan, {name, tag, type, rows, cols});
  }
  Operand act(int64_t rows, int64_t cols) { return add("act", Tag::activation, rows, cols, dtype); }
  Operand weight(const char* name, int64_t rows, int64_t cols) {
    return add(name, Tag::weights, rows, cols, dtype);
  }
  void emit(Op op) { plan.step(StepKind::tail).nodes.push_back({std::move(op), Role::embed, 0}); }
};

// Elements: channels x state x positions.
void add_scan(Kernel& k, int64_t length) {
  const int64_t channels = 256, n = 16;
  const Operand dbc = k.act(length, 48 + 2 * n), xz = k.act(length, 2 * channels);
  k.emit(SelectiveScan{k.act(length, channels), k.act(length, channels), columns_from(dbc, 48),
                       columns_from(dbc, 48 + n), columns_from(xz, channels),
                       k.weight("a_log", channels, n), k.weight("weight", channels, 1),
                       k.weight("dt_bias", channels, 1),
                       k.add("state", Tag::ssm_state, channels, n, DType::f32),
                       k.act(length, channels), 1, length, 0, channels, n});
  k.elements = length * channels * n;
}

// Elements: heads x head width x state x positions.
void add_ssd(Kernel& k, SsdForm form, int64_t length) {
  const int64_t heads = 4, head_dim = 64, n = 128, inner = heads * head_dim;
  const Operand xbc = k.act(length, inner + 2 * n);
  k.emit(Ssd{form,
             xbc,
             k.act(length, heads),
             columns_from(xbc, inner),
             columns_from(xbc, inner + n),
             k.weight("a_log", heads, 1),
             k.weight("weight", heads, 1),
             k.weight("dt_bias", heads, 1),
             k.add("state", Tag::ssm_state, inner, n, DType::f32),
             k.act(length, inner),
             1,
             length,
             0,
             heads,
             head_dim,
             1,
             n,
             64,
             0,
             0});
  k.elements = length * inner * n;
}

// A product with one row, as decode has them. Elements: those of the weight.
void add_gemv(Kernel& k) {
  const int64_t n = 256, depth = 512;
  k.emit(Gemm{k.act(1, depth), k.weight("weight", n, depth), {}, k.act(1, n), 1, n, depth});
  k.elements = n * depth;
}

// The same with a packed weight, which a plan has only where there is a unit for bf16; this one
// lacks vdpbf16ps.
std::function<void()> packed_gemv(Kernel& k) {
  constexpr int64_t n = 256, depth = 512;
  k.elements = n * depth;
  return
      [x = std::vector<Bf16>(depth, Bf16(0.5F)), weight = std::vector<Bf16>(n * depth, Bf16(0.25F)),
       out = std::vector<Bf16>(n), scratch = std::vector<float>(depth)]() mutable {
        cpu::run_skinny_packed({.x = x.data(),
                                .weight = weight.data(),
                                .bias = nullptr,
                                .out = out.data(),
                                .m = 1,
                                .n = n,
                                .k = depth,
                                .x_stride = depth,
                                .weight_stride = depth,
                                .out_stride = n,
                                .scale = 1,
                                .accumulate = false,
                                .x_f32 = false,
                                .out_f32 = false},
                               cpu::Bf16Unit(), 1, scratch.data());
      };
}

void add_norm(Kernel& k, NormKind kind) {
  const int64_t rows = 64, width = 896;
  const Operand bias = kind == NormKind::layer ? k.weight("weight", width, 1) : Operand{};
  k.emit(Norm{kind, k.act(rows, width), k.weight("weight", width, 1), bias, k.act(rows, width),
              rows, 1, width, 1e-5F, 0});
  k.elements = rows * width;
}

const std::map<std::string, void (*)(Kernel&)> kernels = {
    {"scan", [](Kernel& k) { add_scan(k, 64); }},
    {"scan_step", [](Kernel& k) { add_scan(k, 1); }},
    {"ssd", [](Kernel& k) { add_ssd(k, SsdForm::chunked, 64); }},
    {"ssd_step", [](Kernel& k) { add_ssd(k, SsdForm::recurrence, 1); }},
    {"gemv", add_gemv},
    {"rms_norm", [](Kernel& k) { add_norm(k, NormKind::rms); }},
    {"layer_norm", [](Kernel& k) { add_norm(k, NormKind::layer); }},
};

void fill(Backend& backend, const Plan& plan) {
  std::mt19937 random(7);
  for (size_t id = 0; id < plan.tensors.size(); ++id) {
    const Tensor& tensor = plan.tensors[id];
    const float scale = tensor.name == "weight" ? 0.1F : 1.0F;
    const float shift = tensor.name == "dt_bias" ? -3.0F : 0.0F;
    std::vector<float> floats(static_cast<size_t>(tensor.rows * tensor.cols));
    std::normal_distribution<float> normal(shift, scale);
    for (float& value : floats) value = normal(random);
    const std::vector<Bf16> halves(floats.begin(), floats.end());
    backend.upload(static_cast<TensorId>(id),
                   tensor.dtype == DType::bf16 ? std::as_bytes(std::span(halves))
                                               : std::as_bytes(std::span(floats)),
                   0);
  }
}

void run(const std::string& name, DType dtype) {
  const auto backend = make_cpu_backend(1, 0);
  Kernel kernel{{}, dtype};
  std::vector<float> x(4096, 1.0F), y = x;
  std::function<void()> once = [&] { stream(0.5F, x.data(), y.data(), kernel.elements); };
  if (name == "stream") {
    kernel.elements = static_cast<int64_t>(x.size());
  } else if (name == "gemv_packed") {
    once = packed_gemv(kernel);
  } else {
    const auto found = kernels.find(name);
    if (found == kernels.end()) fail("kernel: found no '{}'", name);
    Plan& plan = kernel.plan;
    plan.workload.dtype = dtype;
    plan.step(StepKind::tail).kind = StepKind::tail;
    found->second(kernel);
    backend->attach(plan, layout_on(*backend, plan));
    fill(*backend, plan);
    // At past 1: the state that a step starts from is read.
    once = [&] { backend->run_step(StepKind::tail, 1, nullptr); };
  }
  once();  // what only a first call does
  tidemark_counted(once);
  fmt::print("{} {}\n", counted_runs * kernel.elements, backend->info().isa);
}

}  // namespace
}  // namespace tidemark

int main(int count, char** arguments) {
  try {
    if (count != 3) tidemark::fail("expected KERNEL DTYPE");
    const auto dtype = tidemark::parse_dtype(arguments[2]);
    if (!dtype) tidemark::fail("dtype: expected f32 or bf16, found '{}'", arguments[2]);
    tidemark::run(arguments[1], *dtype);
    return 0;
  } catch (const tidemark::Error& error) {
    fmt::print(stderr, "one_kernel: {}\n", error.what());
    return 1;
  }
}
