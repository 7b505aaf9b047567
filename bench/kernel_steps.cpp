#include "kernel_steps.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "base/bf16.h"

namespace tidemark {
namespace {

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
    std::vector<int8_t> bytes(pool.size());
    for (size_t i = 0; i < pool.size(); ++i) {
      floats[i] = scale * pool[i] + shift;
      halves[i] = Bf16(floats[i]);
      ids[i] = static_cast<int32_t>(random() % 32000);
      bytes[i] = static_cast<int8_t>(std::clamp(50 * pool[i], -127.0F, 127.0F));
    }
    for (int64_t at = 0; at < count; at += static_cast<int64_t>(pool.size())) {
      const auto some =
          static_cast<size_t>(std::min<int64_t>(count - at, static_cast<int64_t>(pool.size())));
      const auto piece = tensor.dtype == DType::i32 ? std::as_bytes(std::span(ids).first(some))
                         : tensor.dtype == DType::bf16
                             ? std::as_bytes(std::span(halves).first(some))
                         : tensor.dtype == DType::i8 ? std::as_bytes(std::span(bytes).first(some))
                                                     : std::as_bytes(std::span(floats).first(some));
      backend.upload(static_cast<TensorId>(id), piece, at * item);
    }
  }
}

}  // namespace

Build gemm(int64_t m, int64_t n, int64_t k) {
  return [=](StepBuilder& b) {
    Gemm op{b.act(m, k), b.weight(n, k), {}, b.act(m, n), m, n, k};
    if (has_int8_weights(b.dtype)) {
      op.int8_x = b.dtype == DType::w8a8;
      op.group = op.int8_x ? k : 32;
      op.weight = b.add("integers", Tag::weights, n, k, DType::i8);
      op.scales = b.weight(n, k / op.group);
    }
    b.emit(op);
  };
}

Build attention(int64_t batch, int64_t length, int64_t past, int64_t heads, int64_t kv_heads,
                int64_t dim, int64_t window) {
  return [=](StepBuilder& b) {
    const int64_t rows = batch * length, capacity = window > 0 ? window : past + length;
    const Operand qkv = b.act(rows, (heads + 2 * kv_heads) * dim);
    const Operand k = columns_from(qkv, heads * dim), v = columns_from(k, kv_heads * dim);
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
  return [=](StepBuilder& b) {
    const int64_t rows = batch * length, inner = heads * 64;
    const Operand xbc = b.act(rows, inner + 2 * state);
    b.emit(Ssd{form,
               xbc,
               b.act(rows, heads),
               columns_from(xbc, inner),
               columns_from(xbc, inner + state),
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
  return [=](StepBuilder& b) {
    const int64_t rows = batch * length, n = 16;
    const Operand dbc = b.act(rows, 48 + 2 * n), xz = b.act(rows, 2 * channels);
    b.emit(SelectiveScan{b.act(rows, channels), b.act(rows, channels), columns_from(dbc, 48),
                         columns_from(dbc, 48 + n), columns_from(xz, channels),
                         b.add("a_log", Tag::weights, channels, n, b.dtype), b.weight(channels, 1),
                         b.add("dt_bias", Tag::weights, channels, 1, b.dtype),
                         b.state(Tag::ssm_state, batch * channels, n, DType::f32),
                         b.act(rows, channels), batch, length, 0, channels, n});
  };
}

Build gated_delta(SsdForm form, int64_t batch, int64_t length) {
  return [=](StepBuilder& b) {  // Qwen3-Next: 16 key heads, 32 value heads, all 128 wide
    const int64_t rows = batch * length, k_width = 16 * 128, v_width = 32 * 128;
    const Operand qkv = b.act(rows, 2 * k_width + v_width), ba = b.act(rows, 2 * 32);
    b.emit(GatedDelta{form, qkv, columns_from(qkv, k_width), columns_from(qkv, 2 * k_width),
                      columns_from(ba, 32), ba, b.add("a_log", Tag::weights, 32, 1, b.dtype),
                      b.add("dt_bias", Tag::weights, 32, 1, b.dtype),
                      b.state(Tag::ssm_state, batch * 32 * 128, 128, DType::f32),
                      b.act(rows, v_width), batch, length, 0, 16, 32, 128, 128, 64});
  };
}

// What follows a router: choice, two projections of every chosen expert, the gate between, the sum.
Build experts(int64_t rows, int64_t experts, int64_t top_k, int64_t width, int64_t hidden) {
  return [=](StepBuilder& b) {
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
    b.emit(Glu{Act::silu, up, columns_from(up, width), up, slots, width});
    b.emit(ExpertGemm{
        up, b.weight(experts * hidden, width), {}, first, down, slots, experts, hidden, width});
    b.emit(Combine{down, weights, position, b.act(rows, hidden), rows, top_k, hidden, true});
  };
}

Build rg_lru(int64_t length) {
  return [=](StepBuilder& b) {  // RecurrentGemma-2B
    b.emit(RgLru{b.act(length, 2560), b.act(length, 2560), b.act(length, 2560), b.weight(2560, 1),
                 b.state(Tag::ssm_state, 2560, 1, DType::f32), b.act(length, 2560), 1, length, 0,
                 2560});
  };
}

Build block_gemm(int64_t m) {
  return [=](StepBuilder& b) {
    b.emit(BlockGemm{b.act(m, 2560), b.weight(2560, 256), b.weight(2560, 1), b.act(m, 2560), m, 10,
                     256, 256});
  };
}

Build conv(int64_t length, int64_t channels) {
  return [=](StepBuilder& b) {
    b.emit(Conv1d{b.act(length, channels), b.weight(channels, 4), b.weight(channels, 1),
                  b.state(Tag::conv_state, channels, 3, b.dtype), b.act(length, channels), 1,
                  length, 0, channels, 4, true});
  };
}

Build rope(int64_t length, int64_t past, int64_t heads, int64_t kv_heads, int64_t dim) {
  return [=](StepBuilder& b) {
    const Operand qkv = b.act(length, (heads + 2 * kv_heads) * dim);
    const int64_t capacity = past + length;
    Rope op{qkv,
            columns_from(qkv, heads * dim),
            columns_from(qkv, (heads + kv_heads) * dim),
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

Build norm(int64_t rows, int64_t width) {
  return [=](StepBuilder& b) {
    b.emit(Norm{NormKind::rms,
                b.act(rows, width),
                b.weight(width, 1),
                {},
                b.act(rows, width),
                rows,
                1,
                width,
                1e-5F,
                0});
  };
}

Build gated_norm(int64_t rows, int64_t width) {
  return [=](StepBuilder& b) {
    b.emit(GatedNorm{b.act(rows, width), b.act(rows, width), b.weight(width, 1), b.act(rows, width),
                     rows, 1, width, 1e-5F, false});
  };
}

KernelStep make_step(DType dtype, int threads, int copies, int64_t past, const Build& build) {
  StepBuilder b{{}, dtype};
  b.plan.workload.dtype = dtype;
  b.plan.step(StepKind::tail).kind = StepKind::tail;
  for (int i = 0; i < copies; ++i) build(b);
  set_past(b.plan.step(StepKind::tail), past);
  KernelStep step{std::move(b.plan), past, make_cpu_backend(threads, 0), {}};
  for (const Node& node : step.plan.step(StepKind::tail).nodes)
    step.cost += cost(node.op, step.plan);
  step.backend->attach(step.plan, layout_on(*step.backend, step.plan));
  fill(*step.backend, step.plan);
  return step;
}

}  // namespace tidemark
