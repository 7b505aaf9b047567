// TTFT and TPOT of whole models on one GPU with random weights:
//   model_bench MODEL CONTEXT CHUNK [NEW_TOKENS] ...  (groups of four; CHUNK 0: the whole context)
// With --nodes before them: microseconds of device time per operator of the last prefill step and
// of one token, and what ran them.
#include <chrono>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "backend/cuda_devices.h"
#include "backend/executor.h"
#include "base/bf16.h"
#include "base/error.h"
#include "model/load.h"

namespace tidemark {
namespace {

double now_ms() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Small weights, whatever they are for: activations stay finite, and time does not depend on them.
void fill(const Tensor& tensor, std::span<std::byte> out) {
  static const std::vector<Bf16> block = [] {
    std::mt19937 random(1);
    std::uniform_real_distribution<float> draw(-0.02F, 0.02F);
    std::vector<Bf16> values(1 << 22);
    for (Bf16& v : values) v = Bf16(draw(random));
    return values;
  }();
  if (tensor.dtype != DType::bf16) fail("bench: weights in bf16 only");
  for (size_t at = 0; at < out.size();) {
    const size_t count = std::min(out.size() - at, block.size() * 2);
    std::memcpy(out.data() + at, block.data(), count);
    at += count;
  }
}

// Device time by operator, from CUPTI; kernels one after the other.
void print_profile(const char* what, const StepProfile& profile, const Step& step) {
  if (!profile.device) return fmt::print("  {}: no CUPTI\n", what);
  std::map<std::string, std::pair<double, int>> by_role;
  double sum = 0;
  for (size_t i = 0; i < step.nodes.size(); ++i) {
    auto& [us, count] =
        by_role[fmt::format("{} ({})", name(step.nodes[i].role), name(step.nodes[i].op))];
    us += profile.nodes[i].time_s * 1e6;
    sum += profile.nodes[i].time_s;
    ++count;
  }
  fmt::print(
      "  {}: wall {:.3f} ms = device {:.3f} + host dispatch {:.3f} + idle {:.3f}; nodes {:.3f}:",
      what, profile.wall_s * 1e3, profile.device->busy_s * 1e3,
      profile.device->host_dispatch_s * 1e3, profile.device->idle_s * 1e3, sum * 1e3);
  for (const auto& [role, time] : by_role)
    fmt::print(" {} {:.1f}x{}", role, time.first / time.second, time.second);
  fmt::print("\n");
}

void bench(const std::string& model, int64_t context, int64_t chunk, int64_t new_tokens,
           bool nodes) {
  auto backend = make_cuda_backend(0, 0);
  const ModelSpec spec = load_spec(model);
  Workload w;
  w.context = context, w.chunk = chunk > 0 ? chunk : context, w.new_tokens = new_tokens + 1,
  w.dtype = DType::bf16;
  const double t0 = now_ms();
  Executor executor(build_plan(spec, w), *backend);
  const double t1 = now_ms();
  executor.fill_weights(fill);
  std::mt19937 random(1);
  std::vector<int32_t> ids(static_cast<size_t>(context));
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % static_cast<uint32_t>(spec.vocab));
  executor.set_prompt(ids);
  executor.prefill();
  std::vector<double> ttft;
  for (int i = 0; i < 5; ++i) {
    const double start = now_ms();
    executor.prefill();
    ttft.push_back(now_ms() - start);
  }
  std::sort(ttft.begin(), ttft.end());
  executor.decode(context);
  std::vector<double> tpot;
  for (int i = 0; i < 3; ++i) {
    const double start = now_ms();
    for (int64_t t = 0; t < new_tokens; ++t)
      backend->run_step(StepKind::decode, context + t, nullptr);
    backend->synchronize();
    tpot.push_back((now_ms() - start) / static_cast<double>(new_tokens));
  }
  std::sort(tpot.begin(), tpot.end());
  fmt::print(
      "{} context {} chunk {}: TTFT {:.2f} ms (min {:.2f}), TPOT {:.3f} ms (min {:.3f}); attach "
      "{:.0f} ms; MiB {:.0f}\n",
      model, context, w.chunk, ttft[2], ttft[0], tpot[1], tpot[0], t1 - t0,
      static_cast<double>(executor.layout().size_bytes.total()) / (1 << 20));
  if (nodes) {
    for (const Phase phase : {Phase::prefill, Phase::decode}) {
      const StepKind kind = phase == Phase::decode ? StepKind::decode : StepKind::tail;
      const int64_t last = phase == Phase::decode ? 0 : executor.plan().body_count;
      const auto now_s = [] { return now_ms() * 1e-3; };
      executor.profile_step(phase, last, now_s);
      print_profile(name(kind).data(), executor.profile_step(phase, last, now_s),
                    executor.plan().step(kind));
    }
    std::map<std::string, int> kernels;
    for (StepKind kind : {StepKind::tail, StepKind::decode}) {
      const std::vector<Node>& all = executor.plan().step(kind).nodes;
      for (size_t i = 0; i < all.size(); ++i)
        ++kernels[fmt::format("{} {}: {}", name(kind), name(all[i].role),
                              backend->implementation(kind, i))];
    }
    for (const auto& [kernel, count] : kernels) fmt::print("    {} x{}\n", kernel, count);
  }
}

}  // namespace
}  // namespace tidemark

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 1 << 14);
  int at = 1, failures = 0;
  const bool nodes = argc > 1 && std::strcmp(argv[1], "--nodes") == 0;
  if (nodes) ++at;
  for (; at + 3 < argc; at += 4) {
    try {
      tidemark::bench(argv[at], std::stoll(argv[at + 1]), std::stoll(argv[at + 2]),
                      std::stoll(argv[at + 3]), nodes);
    } catch (const tidemark::Error& error) {
      fmt::print("{} {}: {}\n", argv[at], argv[at + 1], error.what());
      ++failures;
    }
  }
  return failures ? 1 : 0;
}
