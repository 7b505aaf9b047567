// Every CPU kernel at shapes of real models, run through the backend as a step runs it. A step
// holds several copies of the operator with weights, caches and states of their own, as layers
// have, so that decode finds them as cold as users do. Values are drawn, never zero. Counters
// follow cost(): operations and bytes as docs/measuring.md counts them.
#include <benchmark/benchmark.h>
#include <omp.h>

#include <cmath>
#include <functional>
#include <random>
#include <string>

#include "backend/backend.h"
#include "base/bf16.h"
#include "plan/memory.h"

namespace tidemark {
namespace {

struct Builder {
  Plan plan;
  DType dtype;

  Operand add(const char* name, Tag tag, int64_t rows, int64_t cols, DType type) {
    plan.tensors.push_back({name, tag, type, rows, cols, no_weight});
    return {static_cast<TensorId>(plan.tensors.size() - 1), 0, cols};
  }
  Operand act(int64_t rows, int64_t cols) { return add("act", Tag::activation, rows, cols, dtype); }
  Operand weight(int64_t rows, int64_t cols) {
    return add("weight", Tag::weights, rows, cols, dtype);
  }
  Operand state(Tag tag, int64_t rows, int64_t cols, DType type) {
    return add("state", tag, rows, cols, type);
  }
  void emit(Op op) { plan.step(StepKind::tail).nodes.push_back({std::move(op), Role::embed, 0}); }
};

Operand columns(Operand operand, int64_t from) {
  operand.offset += from;
  return operand;
}

void fill(Backend& backend, const Plan& plan) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> pool(1 << 20);
  for (float& value : pool) value = normal(random);
  for (size_t id = 0; id < plan.tensors.size(); ++id) {
    const Tensor& tensor = plan.tensors[id];
    const float scale = tensor.name == "weight" ? 0.02F : tensor.name == "dt_bias" ? 2.0F : 1.0F;
    const float shift = tensor.name == "dt_bias" ? -4.0F : tensor.name == "a_log" ? 1.5F : 0.0F;
    const int64_t count = tensor.rows * tensor.cols, item = size_bytes(tensor.dtype);
    std::vector<float> floats(pool.size());
    std::vector<Bf16> halves(pool.size());
    std::vector<int32_t> ids(pool.size());
    for (size_t i = 0; i < pool.size(); ++i) {
      floats[i] = scale * pool[i] + shift;
      halves[i] = Bf16(floats[i]);
      ids[i] = static_cast<int32_t>(random() % 32000);
    }
    for (int64_t at = 0; at < count; at += static_cast<int64_t>(pool.size())) {
      const auto some =
          static_cast<size_t>(std::min<int64_t>(count - at, static_cast<int64_t>(pool.size())));
      const auto bytes = tensor.dtype == DType::i32 ? std::as_bytes(std::span(ids).first(some))
                         : tensor.dtype == DType::bf16
                             ? std::as_bytes(std::span(halves).first(some))
                             : std::as_bytes(std::span(floats).first(some));
      backend.upload(static_cast<TensorId>(id), bytes, at * item);
    }
  }
}

using Build = std::function<void(Builder&)>;

// Runs `copies` of the operator at `past` per iteration; counters and time are per step.
void measure(benchmark::State& state, DType dtype, int copies, int64_t past, const Build& build) {
  const auto threads = static_cast<int>(state.range(0));
  const auto backend = make_cpu_backend(threads, 0);
  Builder b{{}, dtype};
  b.plan.workload.dtype = dtype;
  b.plan.step(StepKind::tail).kind = StepKind::tail;
  for (int i = 0; i < copies; ++i) build(b);
  set_past(b.plan.step(StepKind::tail), past);
  Cost total;
  for (const Node& node : b.plan.step(StepKind::tail).nodes) total += cost(node.op, b.plan);
  backend->attach(b.plan, layout_memory(b.plan, [&](const Node& node) {
                    return backend->workspace_bytes(node, b.plan);
                  }));
  fill(*backend, b.plan);
  for (auto _ : state) backend->run_step(StepKind::tail, past, nullptr);
  const auto rate = benchmark::Counter::kIsIterationInvariantRate;
  state.counters["GFLOP/s"] = benchmark::Counter(static_cast<double>(total.ops) * 1e-9, rate);
  state.counters["GB/s"] = benchmark::Counter(static_cast<double>(total.bytes()) * 1e-9, rate);
  state.counters["us/op"] = benchmark::Counter(
      static_cast<double>(copies) * 1e-6,
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  state.SetLabel(backend->implementation(StepKind::tail, 0));
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

Build gemm(int64_t m, int64_t n, int64_t k) {
  return [=](Builder& b) { b.emit(Gemm{b.act(m, k), b.weight(n, k), {}, b.act(m, n), m, n, k}); };
}

Build attention(int64_t batch, int64_t length, int64_t past, int64_t heads, int64_t kv_heads,
                int64_t dim, int64_t window) {
  return [=](Builder& b) {
    const int64_t rows = batch * length, capacity = window > 0 ? window : past + length;
    const Operand qkv = b.act(rows, (heads + 2 * kv_heads) * dim);
    const Operand k = columns(qkv, heads * dim), v = columns(k, kv_heads * dim);
    const int64_t slots = batch * kv_heads * capacity;
    const Operand k_cache = b.state(Tag::kv_cache, slots, dim, b.dtype);
    const Operand v_cache = b.state(Tag::kv_cache, slots, dim, b.dtype);
    b.emit(Attention{qkv, window > 0 ? k : Operand{}, window > 0 ? v : Operand{}, k_cache, v_cache,
                     b.act(rows, heads * dim), batch, length, past, heads, kv_heads, dim, dim,
                     capacity, window, 0.125F});
  };
}

Build ssd(SsdForm form, int64_t batch, int64_t length, int64_t heads, int64_t state,
          int64_t chunk) {
  return [=](Builder& b) {
    const int64_t rows = batch * length, inner = heads * 64;
    const Operand xbc = b.act(rows, inner + 2 * state);
    b.emit(Ssd{form,
               xbc,
               b.act(rows, heads),
               columns(xbc, inner),
               columns(xbc, inner + state),
               b.add("a_log", Tag::weights, heads, 1, b.dtype),
               b.weight(heads, 1),
               b.add("dt_bias", Tag::weights, heads, 1, b.dtype),
               b.state(Tag::ssm_state, batch * inner, state, DType::f32),
               b.act(rows, inner),
               batch,
               length,
               0,
               heads,
               64,
               1,
               state,
               chunk,
               0,
               0});
  };
}

Build scan(int64_t batch, int64_t length, int64_t channels) {
  return [=](Builder& b) {
    const int64_t rows = batch * length, n = 16;
    const Operand dbc = b.act(rows, 48 + 2 * n), xz = b.act(rows, 2 * channels);
    b.emit(SelectiveScan{b.act(rows, channels), b.act(rows, channels), columns(dbc, 48),
                         columns(dbc, 48 + n), columns(xz, channels),
                         b.add("a_log", Tag::weights, channels, n, b.dtype), b.weight(channels, 1),
                         b.add("dt_bias", Tag::weights, channels, 1, b.dtype),
                         b.state(Tag::ssm_state, batch * channels, n, DType::f32),
                         b.act(rows, channels), batch, length, 0, channels, n});
  };
}

Build gated_delta(SsdForm form, int64_t batch, int64_t length) {
  return [=](Builder& b) {  // Qwen3-Next: 16 key heads, 32 value heads, all 128 wide
    const int64_t rows = batch * length, k_width = 16 * 128, v_width = 32 * 128;
    const Operand qkv = b.act(rows, 2 * k_width + v_width), ba = b.act(rows, 2 * 32);
    b.emit(GatedDelta{form, qkv, columns(qkv, k_width), columns(qkv, 2 * k_width), columns(ba, 32),
                      ba, b.add("a_log", Tag::weights, 32, 1, b.dtype),
                      b.add("dt_bias", Tag::weights, 32, 1, b.dtype),
                      b.state(Tag::ssm_state, batch * 32 * 128, 128, DType::f32),
                      b.act(rows, v_width), batch, length, 0, 16, 32, 128, 128, 64});
  };
}

// What follows a router: choice, two projections of every chosen expert, the gate between, the sum.
Build experts(int64_t rows, int64_t experts, int64_t top_k, int64_t width, int64_t hidden) {
  return [=](Builder& b) {
    const int64_t slots = rows * top_k;
    const auto f32 = [&](int64_t r, int64_t c) {
      return b.add("act", Tag::activation, r, c, DType::f32);
    };
    const auto i32 = [&](int64_t r, int64_t c) {
      return b.add("act", Tag::activation, r, c, DType::i32);
    };
    const Operand weights = f32(rows, top_k), token = i32(slots, 1), position = i32(rows, top_k);
    const Operand first = i32(experts + 1, 1), up = b.act(slots, 2 * width);
    const Operand down = b.act(slots, hidden);
    b.emit(Route{RouterScore::softmax,
                 f32(rows, experts),
                 {},
                 weights,
                 token,
                 position,
                 first,
                 rows,
                 experts,
                 top_k,
                 1,
                 1,
                 true,
                 1});
    b.emit(ExpertGemm{b.act(rows, hidden), b.weight(experts * 2 * width, hidden), token, first, up,
                      slots, experts, 2 * width, hidden});
    b.emit(Glu{Act::silu, up, columns(up, width), up, slots, width});
    b.emit(ExpertGemm{
        up, b.weight(experts * hidden, width), {}, first, down, slots, experts, hidden, width});
    b.emit(Combine{down, weights, position, b.act(rows, hidden), rows, top_k, hidden, true});
  };
}

Build rg_lru(int64_t length) {
  return [=](Builder& b) {  // RecurrentGemma-2B
    b.emit(RgLru{b.act(length, 2560), b.act(length, 2560), b.act(length, 2560), b.weight(2560, 1),
                 b.state(Tag::ssm_state, 2560, 1, DType::f32), b.act(length, 2560), 1, length, 0,
                 2560});
  };
}

Build block_gemm(int64_t m) {
  return [=](Builder& b) {
    b.emit(BlockGemm{b.act(m, 2560), b.weight(2560, 256), b.weight(2560, 1), b.act(m, 2560), m, 10,
                     256, 256});
  };
}

Build conv(int64_t length, int64_t channels) {
  return [=](Builder& b) {
    b.emit(Conv1d{b.act(length, channels), b.weight(channels, 4), b.weight(channels, 1),
                  b.state(Tag::conv_state, channels, 3, b.dtype), b.act(length, channels), 1,
                  length, 0, channels, 4, true});
  };
}

Build rope(int64_t length, int64_t past, int64_t heads, int64_t kv_heads, int64_t dim) {
  return [=](Builder& b) {
    const Operand qkv = b.act(length, (heads + 2 * kv_heads) * dim);
    const int64_t capacity = past + length;
    Rope op{qkv,
            columns(qkv, heads * dim),
            columns(qkv, (heads + kv_heads) * dim),
            b.state(Tag::kv_cache, kv_heads * capacity, dim, b.dtype),
            b.state(Tag::kv_cache, kv_heads * capacity, dim, b.dtype),
            1,
            length,
            past,
            heads,
            kv_heads,
            dim,
            dim,
            dim,
            capacity,
            {},
            1};
    for (int64_t j = 0; j < dim / 2; ++j)
      op.inv_freq.push_back(static_cast<float>(
          std::pow(1e6, -2.0 * static_cast<double>(j) / static_cast<double>(dim))));
    b.emit(std::move(op));
  };
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
  add("norm/512x896", 16, 0, [](Builder& b) {
    b.emit(Norm{NormKind::rms,
                b.act(512, 896),
                b.weight(896, 1),
                {},
                b.act(512, 896),
                512,
                1,
                896,
                1e-5F,
                0});
  });
  add("norm/1x896", 48, 0, [](Builder& b) {
    b.emit(Norm{
        NormKind::rms, b.act(1, 896), b.weight(896, 1), {}, b.act(1, 896), 1, 1, 896, 1e-5F, 0});
  });
  add("gated_norm/512x1536", 16, 0, [](Builder& b) {
    b.emit(GatedNorm{b.act(512, 1536), b.act(512, 1536), b.weight(1536, 1), b.act(512, 1536), 512,
                     1, 1536, 1e-5F, false});
  });
  add("glu/512x4864", 4, 0, [](Builder& b) {
    const Operand gate_up = b.act(512, 2 * 4864);
    b.emit(Glu{Act::silu, gate_up, columns(gate_up, 4864), b.act(512, 4864), 512, 4864});
  });
  add("activation/512x4864", 4, 0, [](Builder& b) {
    b.emit(Activation{Act::gelu, b.act(512, 4864), b.act(512, 4864), 512, 4864});
  });
  add("embedding/512x896", 4, 0, [](Builder& b) {
    const Operand ids = b.add("ids", Tag::activation, 1, 513, DType::i32);
    b.emit(Embedding{ids, b.weight(32000, 896), b.act(512, 896), 1, 512, 0, 896, 32000, 1});
  });
  add("argmax/151936", 4, 0, [](Builder& b) {
    const Operand logits = b.add("logits", Tag::logits, 1, 151936, DType::f32);
    const Operand ids = b.add("ids", Tag::activation, 1, 2, DType::i32);
    b.emit(Argmax{logits, ids, 1, 1, 0, 151936, 1, 0});
  });
  return true;
}();

}  // namespace
}  // namespace tidemark
