// Every CPU kernel at shapes of real models, run through the backend as a step runs it. Counters
// follow cost(): operations and bytes as docs/measuring.md counts them.
#include <benchmark/benchmark.h>
#include <omp.h>

#include "kernel_steps.h"

namespace tidemark {
namespace {

// Counters and time are per step.
void measure(benchmark::State& state, DType dtype, int copies, int64_t past, const Build& build) {
  const KernelStep step = make_step(dtype, static_cast<int>(state.range(0)), copies, past, build);
  for (auto _ : state) step.run();
  const auto rate = benchmark::Counter::kIsIterationInvariantRate;
  state.counters["GFLOP/s"] = benchmark::Counter(static_cast<double>(step.cost.ops) * 1e-9, rate);
  state.counters["GB/s"] = benchmark::Counter(static_cast<double>(step.cost.bytes()) * 1e-9, rate);
  state.counters["us/op"] = benchmark::Counter(
      static_cast<double>(copies) * 1e-6,
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  state.SetLabel(step.backend->implementation(StepKind::tail, 0));
}

void add(const std::string& name, int copies, int64_t past, Build build) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    const std::string full = name + "/" + std::string(tidemark::name(dtype));
    const auto run = [=](benchmark::State& state) { measure(state, dtype, copies, past, build); };
    // One thread by its CPU time, which a busy machine spoils least; all of them by the clock.
    benchmark::RegisterBenchmark(full.c_str(), run)->Arg(1);
    benchmark::RegisterBenchmark(full.c_str(), run)->Arg(omp_get_num_procs())->UseRealTime();
  }
}

[[maybe_unused]] const bool registered = [] {
  // Qwen2.5-0.5B down projection and vocabulary; Mamba2-130m input projection.
  for (int64_t m : {1, 2, 4, 8})
    add("gemm_decode/m:" + std::to_string(m) + "/4864x896", 24, 0, gemm(m, 4864, 896));
  add("gemm_decode/m:1/896x4864", 24, 0, gemm(1, 896, 4864));
  for (int64_t m : {9, 16, 32, 512})
    add("gemm/m:" + std::to_string(m) + "/4864x896", 8, 0, gemm(m, 4864, 896));
  // Qwen2.5-0.5B (14/2 x 64), Qwen2.5-1.5B (12/2 x 128), Phi-3-mini (32/32 x 96).
  add("attention_prefill/14:2x64/L512/past:0", 1, 0, attention(1, 512, 0, 14, 2, 64, 0));
  add("attention_prefill/14:2x64/L512/past:7680", 1, 7680, attention(1, 512, 7680, 14, 2, 64, 0));
  add("attention_prefill/12:2x128/L512/past:3584", 1, 3584, attention(1, 512, 3584, 12, 2, 128, 0));
  add("attention_prefill/32:32x96/L512/past:512", 1, 512, attention(1, 512, 512, 32, 32, 96, 0));
  add("attention_window/25:5x64/L512/past:8192/w:1024", 1, 8192,
      attention(1, 512, 8192, 25, 5, 64, 1024));
  add("attention_decode/14:2x64/past:8191", 16, 8191, attention(1, 1, 8191, 14, 2, 64, 0));
  add("attention_decode/12:2x128/past:8191", 8, 8191, attention(1, 1, 8191, 12, 2, 128, 0));
  add("attention_decode/32:32x96/past:2047", 4, 2047, attention(1, 1, 2047, 32, 32, 96, 0));
  // Mamba2-130m (24 heads x 64, state 128), Falcon-H1-0.5B (chunk 128).
  add("ssd_chunked/24x64x128/L512/Q256/past:0", 1, 0, ssd(SsdForm::chunked, 1, 512, 24, 128, 256));
  add("ssd_chunked/24x64x128/L512/Q256/past:512", 1, 512,
      ssd(SsdForm::chunked, 1, 512, 24, 128, 256));
  add("ssd_chunked/24x64x128/L512/Q128/past:512", 1, 512,
      ssd(SsdForm::chunked, 1, 512, 24, 128, 128));
  add("ssd_chunked/24x64x128/L512/Q64/past:512", 1, 512,
      ssd(SsdForm::chunked, 1, 512, 24, 128, 64));
  add("ssd_recurrence/24x64x128", 96, 512, ssd(SsdForm::recurrence, 1, 1, 24, 128, 256));
  add("ssd_recurrence/24x64x128/B4", 24, 512, ssd(SsdForm::recurrence, 4, 1, 24, 128, 256));
  // Mamba-130m and 790m.
  add("selective_scan/1536x16/L512", 1, 512, scan(1, 512, 1536));
  add("selective_scan/3072x16/L512", 1, 512, scan(1, 512, 3072));
  add("selective_scan/3072x16/L1", 96, 512, scan(1, 1, 3072));
  // Qwen3-Next, RecurrentGemma-2B; experts of Granite-4.0-H-Tiny (64 of 512 x 1536, 6 chosen).
  add("gated_delta_chunked/32x128x128/L512", 1, 512, gated_delta(SsdForm::chunked, 1, 512));
  add("gated_delta_recurrence/32x128x128", 48, 512, gated_delta(SsdForm::recurrence, 1, 1));
  add("experts/64x512x1536/top6/512 rows", 1, 0, experts(512, 64, 6, 512, 1536));
  add("experts/64x512x1536/top6/1 row", 2, 0, experts(1, 64, 6, 512, 1536));
  add("rg_lru/2560/L512", 1, 512, rg_lru(512));
  add("rg_lru/2560/L1", 48, 512, rg_lru(1));
  add("block_gemm/10x256x256/m:512", 4, 0, block_gemm(512));
  add("block_gemm/10x256x256/m:1", 48, 0, block_gemm(1));
  add("conv1d/1792/L512", 4, 512, conv(512, 1792));
  add("conv1d/3072/L1", 48, 512, conv(1, 3072));
  add("rope/14:2x64/L512", 4, 8192, rope(512, 8192, 14, 2, 64));
  add("rope/14:2x64/L1", 24, 8192, rope(1, 8192, 14, 2, 64));
  add("norm/512x896", 16, 0, norm(512, 896));
  add("norm/1x896", 48, 0, norm(1, 896));
  add("gated_norm/512x1536", 16, 0, gated_norm(512, 1536));
  add("glu/512x4864", 4, 0, [](StepBuilder& b) {
    const Operand gate_up = b.act(512, 2 * 4864);
    b.emit(Glu{Act::silu, gate_up, columns_from(gate_up, 4864), b.act(512, 4864), 512, 4864});
  });
  add("activation/512x4864", 4, 0, [](StepBuilder& b) {
    b.emit(Activation{Act::gelu, b.act(512, 4864), b.act(512, 4864), 512, 4864});
  });
  add("embedding/512x896", 4, 0, [](StepBuilder& b) {
    const Operand ids = b.add("ids", Tag::activation, 1, 513, DType::i32);
    b.emit(Embedding{ids, b.weight(32000, 896), b.act(512, 896), 1, 512, 0, 896, 32000, 1});
  });
  add("argmax/151936", 4, 0, [](StepBuilder& b) {
    const Operand logits = b.add("logits", Tag::logits, 1, 151936, DType::f32);
    const Operand ids = b.add("ids", Tag::activation, 1, 2, DType::i32);
    b.emit(Argmax{logits, ids, 1, 1, 0, 151936, 1, 0});
  });
  return true;
}();

}  // namespace
}  // namespace tidemark
